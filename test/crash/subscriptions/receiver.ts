/** The webhooks' receiver: one loopback server that outlives all servers under test, and checks who it is that calls. */
import { createPublicKey, verify, type JsonWebKey, type KeyObject } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Violation } from "../incarnation.ts";

const BODY_BYTES_MAX = 1024 * 1024;
const SKEW_SECONDS_MAX = 300;

export interface Jwk extends JsonWebKey {
  readonly kid: string;
}

/** The keys as the first start published them. */
export class WebhookKeys {
  #keys: readonly Jwk[] | null = null;
  readonly #byKid = new Map<string, KeyObject>();

  /** @throws Violation when the keys are other ones than before */
  learn(keys: readonly Jwk[]): void {
    if (keys.length === 0) throw new Violation("the JWK Set is empty");
    if (this.#keys !== null && JSON.stringify(keys) !== JSON.stringify(this.#keys)) {
      throw new Violation(`the JWK Set changed from ${JSON.stringify(this.#keys)} to ${JSON.stringify(keys)}`);
    }
    this.#keys = keys;
    for (const key of keys) this.#byKid.set(key.kid, createPublicKey({ key, format: "jwk" }));
  }

  /** @throws Violation on anything but a fresh signature by one of the keys */
  check(header: string | undefined, body: Buffer, nowMs: number): void {
    const [, seconds, kid, signature] = /^t=(\d+),kid=([^,]+),ed25519=([\w-]+)$/.exec(header ?? "") ?? [];
    const key = this.#byKid.get(kid ?? "");
    if (seconds === undefined || signature === undefined || key === undefined) {
      throw new Violation(`a webhook's signature is ${String(header)}, by none of the keys`);
    }
    if (Math.abs(Number(seconds) - nowMs / 1000) > SKEW_SECONDS_MAX) {
      throw new Violation(`a webhook's signature is of ${seconds}, long ago`);
    }
    const signed = Buffer.concat([Buffer.from(`${seconds}.`), body]);
    if (!verify(null, signed, key, Buffer.from(signature, "base64url"))) {
      throw new Violation("a webhook's signature is not of its body");
    }
  }
}

export interface Call {
  /** The last segment of the URL's path. */
  readonly name: string;
  readonly signature: string | undefined;
  readonly body: Buffer;
}

/** What the caller gets: an answer, or an end of its connection. */
export type CallAnswer = { readonly status: number; readonly body: string } | "cut";

export class WebhookReceiver {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** `answer` may take its time and must not throw. */
  static async listen(answer: (call: Call) => Promise<CallAnswer>): Promise<WebhookReceiver> {
    const server = createServer((request, response) => void serve(request, response, answer));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new WebhookReceiver(server);
  }

  /** Above the name, without a slash at the end. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/hook`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  answer: (call: Call) => Promise<CallAnswer>,
): Promise<void> {
  const pieces: Buffer[] = [];
  let size = 0;
  try {
    for await (const piece of request) {
      size += (piece as Buffer).length;
      if (size > BODY_BYTES_MAX) throw new RangeError("too long");
      pieces.push(piece as Buffer);
    }
  } catch {
    // The caller died in the middle of its request.
    response.destroy();
    return;
  }
  const name = (request.url ?? "").split("/").at(-1) ?? "";
  const signature = request.headers["webhook-signature"];
  const result = await answer({
    name,
    signature: Array.isArray(signature) ? signature.join() : signature,
    body: Buffer.concat(pieces),
  });
  if (result === "cut") response.destroy();
  else response.writeHead(result.status, { "content-type": "application/json" }).end(result.body);
}
