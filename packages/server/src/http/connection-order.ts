/**
 * Requests that a client sends down one connection without waiting take effect in that order: a read behind appends sees them.
 * Appends behind appends go on at once, for they keep their order by themselves and can share a commit.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";

interface Newest {
  readonly method: string | undefined;
  readonly response: ServerResponse;
}

export class ConnectionOrder {
  readonly #newest = new WeakMap<Socket, Newest>();

  /** Runs `work` now, or when the requests before it on the connection are answered. */
  run(request: IncomingMessage, response: ServerResponse, work: () => void): void {
    const { socket, method } = request;
    const before = this.#newest.get(socket);
    this.#newest.set(socket, { method, response });
    // Responses of a connection leave in order, so the one just before ends last.
    const isFree = before === undefined || before.response.writableFinished || before.response.destroyed;
    if (isFree || (method === "POST" && before.method === "POST")) work();
    else before.response.once("close", work);
  }

  /** A response on the connection is not finished. */
  isAnswering(socket: Socket): boolean {
    const newest = this.#newest.get(socket);
    return newest !== undefined && newest.response.headersSent && !newest.response.writableFinished;
  }
}
