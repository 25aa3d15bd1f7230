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
  /** What `newest` answers. */
  request: IncomingMessage;
  /** The response before `newest`; null for the first. */
  before: ServerResponse | null;
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
      const first: Connection = { newest: response, request, before: null, method, hasBegun: true, open: 1 };
      this.#connections.set(socket, first);
      response.once("close", () => (first.open -= 1));
      return work();
    }
    const before = connection.newest;
    const isFree =
      before.writableFinished || (connection.hasBegun && method === "POST" && connection.method === "POST");
    connection.newest = response;
    connection.request = request;
    connection.before = before;
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
      // The connection itself may be what closed it: then nobody waits for this one, and its request is being torn down.
      if (response.destroyed || socket.destroyed || ending.has(socket)) return;
      if (connection.newest === response) connection.hasBegun = true;
      work();
    });
  }

  /**
   * Ends the connection behind the responses that are under way: one that is being sent is cut, the others leave first.
   * `false` when there is none. A request whose body broke off is not waited for: it would wait for the rest for ever.
   */
  endBehindOpen(socket: Socket): boolean {
    const connection = this.#connections.get(socket);
    if (connection === undefined) return false;
    const { newest, request, before } = connection;
    // A refusal is whole already, and lingers only to read what the client still sends: now that is over.
    if (ending.has(socket)) newest.end();
    const last = request.complete || newest.headersSent ? newest : before;
    if (last === null || last.writableFinished) {
      // Nothing follows a response that announced the end, not even a word about what is wrong behind it.
      if (ending.has(socket)) socket.destroySoon();
      return ending.has(socket);
    }
    // One that is whole and has only to leave is not cut: it may answer a good request before the bad one.
    if (last.headersSent && !last.writableEnded) socket.destroy();
    else last.once("close", () => socket.destroy());
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
