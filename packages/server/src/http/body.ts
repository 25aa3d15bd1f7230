/** Receives request bodies within bounds: one of them, and all of them together. */
import type { IncomingMessage } from "node:http";
import { REQUEST_BODIES_BYTES_MAX } from "@coldbrook/core";
import type { Problem } from "./problem.ts";

const NOTHING = new Uint8Array(0);

const ignore = (): void => undefined;

export type ReceivedBody =
  /** `release` must be called when the bytes are no longer needed. */
  | { readonly kind: "body"; readonly bytes: Uint8Array; readonly release: () => void }
  | { readonly kind: "refused"; readonly problem: Problem }
  /** The client went away. */
  | { readonly kind: "aborted" };

export class BodyReceiver {
  readonly #bodyBytesMax: number;
  #held = 0;

  constructor(bodyBytesMax: number) {
    this.#bodyBytesMax = bodyBytesMax;
  }

  get heldBytes(): number {
    return this.#held;
  }

  /** What the headers alone say against the body. */
  judge(request: IncomingMessage): Problem | null {
    const declared = request.headers["content-length"];
    if (declared !== undefined && Number(declared) > this.#bodyBytesMax) return this.#tooLarge(`${declared} bytes`);
    if (this.#held + Number(declared ?? 0) > REQUEST_BODIES_BYTES_MAX) return this.#busy();
    return null;
  }

  /** Takes a body that is here already; null when it would be refused. */
  take(bytes: Uint8Array): Extract<ReceivedBody, { kind: "body" }> | null {
    const { length } = bytes;
    if (length > this.#bodyBytesMax || this.#held + length > REQUEST_BODIES_BYTES_MAX) return null;
    this.#held += length;
    return { kind: "body", bytes, release: () => (this.#held -= length) };
  }

  receive(request: IncomingMessage): Promise<ReceivedBody> {
    const refused = this.judge(request);
    if (refused !== null) return Promise.resolve({ kind: "refused", problem: refused });
    const declared = request.headers["content-length"];
    if (request.headers["transfer-encoding"] === undefined && (declared === undefined || declared === "0")) {
      return Promise.resolve({ kind: "body", bytes: NOTHING, release: (): void => undefined });
    }
    return new Promise((resolve) => this.#collect(request, resolve));
  }

  #collect(request: IncomingMessage, resolve: (body: ReceivedBody) => void): void {
    const parts: Buffer[] = [];
    // A body that is whole by its Content-Length need not wait for the end of the request.
    const declared = Number(request.headers["content-length"] ?? NaN);
    let bytes = 0;
    const settle = (body: ReceivedBody): void => {
      request.off("data", onData).off("end", onEnd).off("close", onClose).off("error", onClose);
      if (body.kind !== "body") this.#held -= bytes;
      resolve(body);
    };
    const onData = (part: Buffer): void => {
      bytes += part.length;
      this.#held += part.length;
      parts.push(part);
      if (bytes === declared) onEnd();
      else if (bytes > this.#bodyBytesMax) settle({ kind: "refused", problem: this.#tooLarge("more") });
      else if (this.#held > REQUEST_BODIES_BYTES_MAX) settle({ kind: "refused", problem: this.#busy() });
    };
    const onEnd = (): void => {
      const whole = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
      settle({ kind: "body", bytes: whole, release: () => (this.#held -= bytes) });
    };
    const onClose = (): void => settle({ kind: "aborted" });
    // For good: Node decides to emit an error while there is a listener, and emits it later, when the body may be whole.
    request.on("error", ignore);
    request.on("data", onData).on("end", onEnd).on("close", onClose).on("error", onClose);
  }

  #tooLarge(found: string): Problem {
    return {
      status: 413,
      code: "body-too-large",
      detail: `the body has ${found}; at most ${this.#bodyBytesMax} bytes are taken at once (--body-bytes-max): send it in parts`,
      close: true,
    };
  }

  #busy(): Problem {
    return {
      status: 503,
      code: "too-many-bodies",
      detail: "request bodies under way fill the memory set aside for them; try again later",
      headers: ["Retry-After", "1"],
      close: true,
    };
  }
}
