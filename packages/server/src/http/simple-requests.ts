/**
 * Simple requests whose answers are whole at once: appends, creates, deletes and HEADs, served without Node's HTTP server
 * (protocol sections 5.1 to 5.5). Every connection begins here; those that bring anything else, or a request that is refused by
 * its headers alone, are Node's from then on.
 */
import type { Server } from "node:http";
import { Socket } from "node:net";
import { parseStreamPath, URL_BYTES_MAX } from "@coldbrook/core";
import type { Answer } from "./answer.ts";
import { head } from "./catch-up.ts";
import type { Problem } from "./problem.ts";
import type { ReadContext } from "./read-context.ts";
import { SimpleConnection } from "./simple-connection.ts";
import type { SimplePorts } from "./simple-connection.ts";
import type { SimpleRequest } from "./simple-request.ts";
import { append, create, parseAppend, parsePut, remove } from "./writes.ts";
import type { WriteContext } from "./writes.ts";

export interface SimpleRequestsPorts {
  /** Null while there is nothing to serve. */
  readonly context: () => (ReadContext & WriteContext) | null;
  readonly streamRoot: string;
  /** No stream is below this. */
  readonly controlPrefix: string;
  /** What a request that failed is answered; its log line is written by then. */
  readonly fault: (error: unknown, method: string, target: string) => Problem;
  readonly keepAliveMs: number;
}

type Context = ReadContext & WriteContext;

export class SimpleRequests {
  readonly #ports: SimpleRequestsPorts;
  readonly #connections = new Set<SimpleConnection>();

  constructor(ports: SimpleRequestsPorts) {
    this.#ports = ports;
  }

  /** Puts itself before the server's own handling of connections. */
  standBefore(server: Server): void {
    const [handle] = server.listeners("connection") as ((socket: unknown) => void)[];
    const ports: SimplePorts = {
      serve: (request, socket, answer) => this.#serve(request, socket, answer),
      handOver: (socket) => handle!.call(server, socket),
      keepAliveMs: this.#ports.keepAliveMs,
    };
    server.removeAllListeners("connection");
    server.on("connection", (socket: unknown) => {
      if (!(socket instanceof Socket)) return handle!.call(server, socket);
      const connection: SimpleConnection = new SimpleConnection(socket, ports, () => {
        this.#connections.delete(connection);
      });
      this.#connections.add(connection);
    });
  }

  endIdle(): void {
    for (const connection of this.#connections) if (connection.isIdle) connection.end();
  }

  destroyAll(): void {
    for (const connection of this.#connections) connection.destroy();
  }

  #serve(request: SimpleRequest, socket: Socket, answer: (answer: Answer) => void): boolean {
    const { method, target } = request;
    const context = this.#ports.context();
    const path = context === null ? null : this.#pathOf(target);
    if (context === null || path === null) return false;
    const answering = begin(context, path, request, socket);
    if (answering === null) return false;
    // The body is read, so the connection can go on.
    answering.then(answer, (error: unknown) => answer({ ...this.#ports.fault(error, method, target), close: false }));
    return true;
  }

  /** Null when it is not just a stream's. */
  #pathOf(target: string): string | null {
    const { streamRoot, controlPrefix } = this.#ports;
    if (target.length > URL_BYTES_MAX || target.includes("?") || !target.startsWith(`${streamRoot}/`)) return null;
    if (target === "/health" || target === controlPrefix || target.startsWith(`${controlPrefix}/`)) return null;
    const parsed = parseStreamPath(target.slice(streamRoot.length + 1));
    return parsed.kind === "path" ? parsed.path : null;
  }
}

/** Null when the request is refused by its headers, or there is no room for its body now. */
function begin(context: Context, path: string, request: SimpleRequest, socket: Socket): Promise<Answer> | null {
  const { headers } = request;
  switch (request.method) {
    case "POST": {
      const parsed = parseAppend(headers);
      // A body may stay in memory for long; the copy, from a pool, lets go of what was read with it.
      const body = "status" in parsed ? null : context.bodies.take(Buffer.from(request.body));
      return "status" in parsed || body === null ? null : append(context, path, parsed, body);
    }
    case "PUT": {
      const parsed = parsePut(headers, context.streamRoot);
      const body = "status" in parsed ? null : context.bodies.take(request.body);
      if ("status" in parsed || body === null) return null;
      return create(context, path, parsed, { request: { headers, socket }, body });
    }
    case "DELETE":
      return request.body.length > 0 ? null : remove(context, path);
    case "HEAD":
      return request.body.length > 0 ? null : head(context, path);
  }
}
