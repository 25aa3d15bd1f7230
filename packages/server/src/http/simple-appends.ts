/**
 * Appends that come as simple requests, served without Node's HTTP server (protocol section 5.2). Every connection begins here;
 * those that bring anything else, or an append that is refused by its headers alone, are Node's from then on.
 */
import type { Server } from "node:http";
import { Socket } from "node:net";
import { parseStreamPath, URL_BYTES_MAX } from "@coldbrook/core";
import type { Answer } from "./answer.ts";
import type { Problem } from "./problem.ts";
import { SimpleConnection } from "./simple-connection.ts";
import type { SimplePorts } from "./simple-connection.ts";
import type { SimpleRequest } from "./simple-request.ts";
import { append, parseAppend } from "./writes.ts";
import type { WriteContext } from "./writes.ts";

export interface SimpleAppendPorts {
  /** Null while there is nothing to append to. */
  readonly context: () => WriteContext | null;
  readonly streamRoot: string;
  /** No stream is below this. */
  readonly controlPrefix: string;
  /** What a request that failed is answered; its log line is written by then. */
  readonly fault: (error: unknown, method: string, target: string) => Problem;
  readonly keepAliveMs: number;
}

export class SimpleAppends {
  readonly #ports: SimpleAppendPorts;
  readonly #connections = new Set<SimpleConnection>();

  constructor(ports: SimpleAppendPorts) {
    this.#ports = ports;
  }

  /** Puts itself before the server's own handling of connections. */
  standBefore(server: Server): void {
    const [handle] = server.listeners("connection") as ((socket: unknown) => void)[];
    const ports: SimplePorts = {
      serve: (request) => this.#serve(request),
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

  #serve(request: SimpleRequest): Promise<Answer> | null {
    const { target } = request;
    const context = this.#ports.context();
    const path = context === null ? null : this.#pathOf(target);
    if (context === null || path === null) return null;
    const parsed = parseAppend(request.headers);
    if ("status" in parsed) return null;
    const body = context.bodies.take(request.body);
    if (body === null) return null;
    return append(context, path, parsed, body).catch((error: unknown) => {
      // The body is read, so the connection can go on.
      return { ...this.#ports.fault(error, "POST", target), close: false };
    });
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
