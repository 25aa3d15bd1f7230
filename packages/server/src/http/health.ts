/** `/health`: 200 while the server serves, 503 while it starts or drains; with the figures that an operator looks at first. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { sendProblem } from "./exchange.ts";

export type Phase = "starting" | "ok" | "draining";

export interface HealthPorts {
  readonly phase: () => Phase;
  readonly facts: () => Record<string, number | string>;
}

export function health(ports: HealthPorts, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== "GET" && request.method !== "HEAD") {
    const detail = "health takes GET and HEAD";
    sendProblem(request, response, {
      status: 405,
      code: "method-not-allowed",
      detail,
      headers: ["Allow", "GET, HEAD"],
      close: true,
    });
    return Promise.resolve();
  }
  const phase = ports.phase();
  const body = `${JSON.stringify({ status: phase, ...ports.facts() })}\n`;
  response.writeHead(phase === "ok" ? 200 : 503, {
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(body),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    ...(phase === "ok" ? {} : { "Retry-After": "1" }),
  });
  response.end(request.method === "HEAD" ? undefined : body);
  return Promise.resolve();
}
