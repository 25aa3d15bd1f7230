/**
 * Requests that a client sends down one connection without waiting take effect in that order: a read behind appends sees them.
 * Appends behind appends go on at once, for they keep their order by themselves and can share a commit. Behind a response
 * that announced the connection's end, nothing takes effect.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { PIPELINED_REQUESTS_MAX } from "@coldbrook/core";

interface Connection {
  newest: ServerResponse;
  method: string | undefined;
  /** The newest request's work has begun. */
  hasBegun: boolean;
  /** Requests whose responses are not finished. */
  open: number;
}

const ending = new WeakSet<Socket>();

/** The response under way says `Connection: close`: no later request of the connection is handled. */
export function endAfterResponse(socket: Socket): void {
  ending.add(socket);
}

export class ConnectionOrder {
  readonly #connections = new WeakMap<Socket, Connection>();

  /** Runs `work` now, or when the requests before it on the connection are answered, or never if the connection ends first. */
  run(request: IncomingMessage, response: ServerResponse, work: () => void): void {
    const { socket, method } = request;
    if (ending.has(socket)) return;
    const connection = this.#connections.get(socket);
    if (connection === undefined) {
      const first: Connection = { newest: response, method, hasBegun: true, open: 1 };
      this.#connections.set(socket, first);
      response.once("close", () => (first.open -= 1));
      return work();
    }
    const before = connection.newest;
    const isFree =
      before.writableFinished || (connection.hasBegun && method === "POST" && connection.method === "POST");
    connection.newest = response;
    connection.method = method;
    connection.hasBegun = isFree;
    connection.open += 1;
    response.once("close", () => (connection.open -= 1));
    if (response.socket === null) followConnection(socket, response);
    if (connection.open > PIPELINED_REQUESTS_MAX) {
      socket.destroy();
      return;
    }
    if (isFree) return work();
    // Responses of a connection leave in order, so the one just before ends last.
    before.once("close", () => {
      if (response.destroyed || ending.has(socket)) return;
      if (connection.newest === response) connection.hasBegun = true;
      work();
    });
  }

  /**
   * Ends the connection behind the responses that are under way: one that is being sent is cut, the others leave first.
   * `false` when there is none.
   */
  endBehindOpen(socket: Socket): boolean {
    const newest = this.#connections.get(socket)?.newest;
    if (newest === undefined || newest.writableFinished) return false;
    if (newest.headersSent) socket.destroy();
    else newest.once("close", () => socket.destroy());
    return true;
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
