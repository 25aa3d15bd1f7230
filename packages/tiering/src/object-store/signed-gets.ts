/**
 * Ranged GETs whose request was signed once for all ranges of an object: a signature need not cover the Range header, and it
 * holds for a quarter of an hour. The SDK's work for each request costs as much as moving a megabyte.
 */
import { GetObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import type { Clock } from "@coldbrook/core";
import { LRUCache } from "lru-cache";
import { isHandlerRequest, type HandlerRequest } from "./answered-handler.ts";
import type { Answer, RangeGets } from "./range-gets.ts";

/** Credentials are renewed, and revoked: far less than the signature would hold. */
const SIGNED_MS_MAX = 60_000;
const SIGNED_MAX = 1_024;
/** What a server says to a signature that it does not take. */
const REFUSALS: ReadonlySet<number> = new Set([400, 401, 403]);

interface Signed {
  readonly request: HandlerRequest;
  readonly atMs: number;
  isUsed: boolean;
}

/** [from, to) of an object. */
export interface ObjectRange {
  readonly Bucket: string;
  readonly Key: string;
  readonly from: number;
  readonly to: number;
}

export class SignedGets {
  readonly #ranges: RangeGets;
  readonly #clock: Clock;
  readonly #signed = new LRUCache<string, Signed>({ max: SIGNED_MAX });
  /** A server that wants each Range signed is not asked so again before this. */
  #refusedUntilMs = -Infinity;

  constructor(ranges: RangeGets, clock: Clock) {
    this.#ranges = ranges;
    this.#clock = clock;
  }

  /**
   * What the server answers, or undefined where the SDK must ask: a refusal counts only when the request was signed for
   * itself. Throws what ended the connection.
   */
  async get(client: S3Client, range: ObjectRange, signal: AbortSignal): Promise<Answer | undefined> {
    if (this.#clock() < this.#refusedUntilMs) return undefined;
    const signed = await this.#of(client, range);
    if (signed === undefined) return undefined;
    const isFirst = !signed.isUsed;
    signed.isUsed = true;
    const answer = await this.#ranges.get(signed.request, range.from, range.to, signal);
    if (answer === undefined || !REFUSALS.has(answer.status)) return answer;
    this.#signed.delete(range.Key);
    if (isFirst) this.#refusedUntilMs = this.#clock() + SIGNED_MS_MAX;
    return undefined;
  }

  async #of(client: S3Client, { Bucket, Key }: ObjectRange): Promise<Signed | undefined> {
    const kept = this.#signed.get(Key);
    if (kept !== undefined && Math.abs(this.#clock() - kept.atMs) < SIGNED_MS_MAX) return kept;
    const atMs = this.#clock();
    const request = await sign(client, new GetObjectCommand({ Bucket, Key }));
    if (request === undefined) return undefined;
    const signed: Signed = { request, atMs, isUsed: false };
    this.#signed.set(Key, signed);
    return signed;
  }
}

/** The request that the SDK would send for `command`; undefined when it sends another kind. */
async function sign(client: S3Client, command: GetObjectCommand): Promise<HandlerRequest | undefined> {
  let signed: HandlerRequest | undefined;
  command.middlewareStack.addRelativeTo(
    () => async (args: { readonly request: unknown }) => {
      if (isHandlerRequest(args.request)) signed = args.request;
      // Nothing is sent.
      return { response: undefined, output: { $metadata: {} } };
    },
    { relation: "after", toMiddleware: "httpSigningMiddleware", name: "takeSignedRequest" },
  );
  await client.send(command);
  return signed;
}
