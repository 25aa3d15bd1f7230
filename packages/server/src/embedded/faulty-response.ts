/** Plays an injected fault on one request: wait, drop, answer a status, or change the response that the server gives by itself. */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { Random } from "@coldbrook/core";
import { COMMON } from "../http/answer.ts";
import { changesResponse, delayOf, faultyBody, sseEventText } from "./fault-table.ts";
import type { InjectedFault } from "./types.ts";

/** `true` when the request has its answer, or gets none; otherwise it goes its way, with a response that may be changed. */
export async function playFault(
  fault: InjectedFault,
  request: IncomingMessage,
  response: ServerResponse,
  random: Random,
): Promise<boolean> {
  const delayMs = delayOf(fault, random);
  if (delayMs > 0) await delay(delayMs, response);
  if (response.destroyed) return true;
  if (fault.dropConnection === true) {
    request.socket.destroy();
    return true;
  }
  if (fault.status !== undefined) {
    answer(fault.status, fault.retryAfter, request, response);
    return true;
  }
  if (changesResponse(fault) && request.method === "GET") changeResponse(response, fault);
  return false;
}

/** A client that leaves meanwhile does not keep the process alive for the rest of it. */
async function delay(ms: number, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  response.once("close", leave);
  await sleep(ms, undefined, { signal: gone.signal }).catch(() => undefined);
  response.off("close", leave);
}

function answer(
  status: number,
  retryAfter: number | undefined,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const body = status === 204 || status === 304 ? "" : "Injected error for testing";
  const headers = ["Content-Type", "text/plain", "Cache-Control", "no-store"];
  if (body !== "") headers.push("Content-Length", String(Buffer.byteLength(body)));
  if (retryAfter !== undefined) headers.push("Retry-After", String(retryAfter));
  // The rest of a body that nobody reads must not hold up the connection's next request.
  request.resume();
  response.writeHead(status, [...headers, ...COMMON]);
  response.end(request.method === "HEAD" ? "" : body);
}

/** Changes the body of the 200 that follows, or puts an event before the first of its SSE response. */
function changeResponse(response: ServerResponse, fault: InjectedFault): void {
  const writeHead = response.writeHead.bind(response);
  const changed = (status: number, ...rest: readonly unknown[]): ServerResponse => {
    response.writeHead = writeHead;
    const headers = rest.at(-1) as readonly string[] | OutgoingHttpHeaders | undefined;
    if (status !== 200 || !Array.isArray(headers)) return writeHead(status, headers as string[]);
    if (valueOf(headers, "content-type") !== "text/event-stream") {
      collectBody(response, status, headers, fault);
      return response;
    }
    writeHead(status, headers);
    if (fault.injectSseEvent !== undefined) response.write(sseEventText(fault.injectSseEvent));
    return response;
  };
  response.writeHead = changed as typeof response.writeHead;
}

/** Holds the body back until it is whole, which a read's body is after one chunk at most. */
function collectBody(response: ServerResponse, status: number, headers: readonly string[], fault: InjectedFault): void {
  const { write, end } = response;
  const parts: Uint8Array[] = [];
  const take = (part: unknown): void => {
    if (part instanceof Uint8Array) parts.push(part);
    else if (typeof part === "string") parts.push(Buffer.from(part));
  };
  response.write = (part: unknown): boolean => {
    take(part);
    return true;
  };
  response.end = (part?: unknown): ServerResponse => {
    take(part);
    Object.assign(response, { write, end });
    // A fault of the server's own was answered instead.
    if (response.headersSent) return response.end(part as Uint8Array | undefined);
    const body = faultyBody(Buffer.concat(parts), fault);
    response.writeHead(status, [...without(headers, "content-length"), "Content-Length", String(body.length)]);
    return response.end(body);
  };
}

function valueOf(headers: readonly string[], name: string): string | undefined {
  const at = headers.findIndex((text, i) => i % 2 === 0 && text.toLowerCase() === name);
  return at < 0 ? undefined : headers[at + 1];
}

/** The headers, name, value, name, value, without those of one name, in lower case, or that start with it up to `*`. */
export function without(headers: readonly string[], name: string): string[] {
  const isIt = (text: string): boolean =>
    name.endsWith("*") ? text.toLowerCase().startsWith(name.slice(0, -1)) : text.toLowerCase() === name;
  return headers.filter((_, i) => !isIt(headers[i - (i % 2)]!));
}
