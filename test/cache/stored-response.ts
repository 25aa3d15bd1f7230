/** A read as a cache sees it: what it would store, and under which rules. */
import { createHash } from "node:crypto";
import { expectStatus, header, nextOffset, type Reply, type StreamClient } from "../process/http.ts";

/** Headers that a 304 freshens, so that they must be the same as on the 200 that it stands for. */
const STORED_HEADERS = [
  "cache-control",
  "etag",
  "cache-tag",
  "surrogate-key",
  "content-location",
  "expires",
  "vary",
  "stream-next-offset",
  "stream-up-to-date",
  "stream-closed",
] as const;

export type StoredHeaders = Readonly<Partial<Record<(typeof STORED_HEADERS)[number], string>>>;

export interface StoredResponse {
  readonly status: number;
  readonly headers: StoredHeaders;
  readonly bytes: number;
  readonly digest: string;
}

export const IMMUTABLE = "public, max-age=31536000, immutable";

export function storedHeaders(reply: Reply): StoredHeaders {
  return Object.fromEntries(
    STORED_HEADERS.flatMap((name) => {
      const value = header(reply, name);
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

export function storedResponse(reply: Reply): StoredResponse {
  const digest = createHash("sha256").update(reply.body).digest("hex");
  return { status: reply.status, headers: storedHeaders(reply), bytes: reply.body.length, digest };
}

/** Every response of a walk from `offset` to the tail, by the offset that was asked for. */
export async function walk(client: StreamClient, path: string, offset: string): Promise<Map<string, StoredResponse>> {
  const seen = new Map<string, StoredResponse>();
  for (let from = offset; ;) {
    const reply = expectStatus(await client.read(path, { offset: from }), `read ${path} from ${from}`, 200);
    if (seen.has(from)) throw new Error(`read ${path} from ${from}: asked for twice`);
    seen.set(from, storedResponse(reply));
    if (header(reply, "stream-up-to-date") === "true") return seen;
    from = nextOffset(reply);
  }
}

/** `max-age` in seconds. @throws Error when there is none */
export function maxAge(reply: Reply): number {
  const seconds = /(?:^|, )max-age=(\d+)(?:,|$)/.exec(header(reply, "cache-control") ?? "")?.[1];
  if (seconds === undefined) throw new Error(`no max-age: ${String(header(reply, "cache-control"))}`);
  return Number(seconds);
}
