/** What stands before the routes of the embeddable server: injected faults, the orders for them, and CORS where it is off. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Random } from "@coldbrook/core";
import type { BodyReceiver } from "../http/body.ts";
import { COMMON } from "../http/answer.ts";
import type { Gate } from "../http/server.ts";
import { parseFaultOrder } from "./fault-table.ts";
import type { FaultTable } from "./fault-table.ts";
import { playFault, without } from "./faulty-response.ts";

const ORDERS = "/_test/inject-error";

export interface GatePorts {
  readonly faults: FaultTable;
  readonly bodies: BodyReceiver;
  readonly random: Random;
  readonly cors: boolean;
}

export function faultGate(ports: GatePorts): Gate {
  return (request, response) => {
    if (!ports.cors) hideCors(response);
    const { method = "GET", url = "/" } = request;
    if (method === "OPTIONS") return false;
    const path = url.split("?", 1)[0]!;
    if (path === ORDERS) return order(ports, request, response);
    if (ports.faults.isEmpty) return false;
    const fault = ports.faults.take(path, method);
    return fault === null ? false : playFault(fault, request, response, ports.random);
  };
}

/** Browsers of other origins get nothing. */
function hideCors(response: ServerResponse): void {
  const writeHead = response.writeHead.bind(response);
  response.writeHead = ((status: number, ...rest: readonly unknown[]) => {
    const headers = rest.at(-1);
    const kept = Array.isArray(headers) ? without(headers as string[], "access-control-*") : headers;
    return writeHead(status, kept as string[]);
  }) as typeof response.writeHead;
}

async function order(ports: GatePorts, request: IncomingMessage, response: ServerResponse): Promise<true> {
  if (request.method === "DELETE") {
    ports.faults.clear();
    return say(request, response, 200, OK);
  }
  if (request.method !== "POST") return say(request, response, 405, "Method not allowed");
  const body = await ports.bodies.receive(request);
  if (body.kind === "aborted") return true;
  if (body.kind === "refused") return say(request, response, body.problem.status, body.problem.detail);
  const parsed = parseFaultOrder(body.bytes);
  body.release();
  if (parsed.kind === "bad") return say(request, response, 400, parsed.detail);
  ports.faults.inject(parsed.path, parsed.fault);
  return say(request, response, 200, OK);
}

const OK = '{"ok":true}';

function say(request: IncomingMessage, response: ServerResponse, status: number, body: string): true {
  request.resume();
  const type = body === OK ? "application/json" : "text/plain";
  const length = String(Buffer.byteLength(body));
  response.writeHead(status, ["Content-Type", type, "Content-Length", length, "Cache-Control", "no-store", ...COMMON]);
  response.end(request.method === "HEAD" ? "" : body);
  return true;
}
