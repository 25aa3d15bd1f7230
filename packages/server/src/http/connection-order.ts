/**
 * Requests that a client sends down one connection without waiting take effect in that order: a read behind appends sees them.
 * Appends behind appends go on at once, for they keep their order by themselves and can share a commit.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { PIPELINED_REQUESTS_MAX } from "@coldbrook/core";

interface Connection {
  method: string | undefined;
  newest: ServerResponse;
  /** Requests whose responses are not finished. */
  open: number;
}

export class ConnectionOrder {
  readonly #connections = new WeakMap<Socket, Connection>();

  /** Runs `work` now, or when the requests before it on the connection are answered, or never if the client leaves first. */
  run(request: IncomingMessage, response: ServerResponse, work: () => void): void {
    const { socket, method } = request;
    const connection = this.#connections.get(socket);
    if (connection === undefined) {
      const first: Connection = { method, newest: response, open: 1 };
      this.#connections.set(socket, first);
      response.once("close", () => (first.open -= 1));
      return work();
    }
    const { newest, method: methodBefore } = connection;
    connection.method = method;
    connection.newest = response;
    connection.open += 1;
    response.once("close", () => (connection.open -= 1));
    if (response.socket === null) followConnection(socket, response);
    if (connection.open > PIPELINED_REQUESTS_MAX) {
      socket.destroy();
      return;
    }
    // Responses of a connection leave in order, so the one just before ends last.
    if (newest.writableFinished || (method === "POST" && methodBefore === "POST")) return work();
    newest.once("close", () => {
      if (!response.destroyed) work();
    });
  }

  /** A response on the connection is under way. */
  isAnswering(socket: Socket): boolean {
    const newest = this.#connections.get(socket)?.newest;
    return newest !== undefined && newest.headersSent && !newest.writableFinished;
  }
}

/**
 * The response of a pipelined request has no socket until its turn comes, and Node tells it nothing when the connection ends
 * before that: without its "close", what it holds would be held for ever.
 */
function followConnection(socket: Socket, response: ServerResponse): void {
  const gone = (): void => {
    if (response.socket !== null) return;
    response.destroy();
    response.emit("close");
  };
  socket.setMaxListeners(0).once("close", gone);
  response.once("close", () => socket.off("close", gone));
}
