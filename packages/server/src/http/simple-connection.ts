/**
 * A connection for as long as it brings simple requests, which is all that most writers send: their bytes are read and answered
 * here, without the objects that Node makes for each request. The first thing of another kind hands the socket over to Node's
 * HTTP server, with the bytes from there on, for good. Responses leave in the order of their requests (RFC 9112 section 9.3.2),
 * and requests take effect in that order: appends behind appends go on at once, as they keep their order by themselves and can
 * share a commit; any other waits for the answers before it, and all behind it wait for its own.
 */
import http from "node:http";
import type { Socket } from "node:net";
import { PIPELINED_REQUESTS_MAX } from "@coldbrook/core";
import { COMMON, partsOf } from "./answer.ts";
import type { Answer } from "./answer.ts";
import { InProcessSocket } from "./in-process-socket.ts";
import { HeaderMemory, readSimpleRequest } from "./simple-request.ts";
import type { SimpleMethod, SimpleRequest } from "./simple-request.ts";

export interface SimplePorts {
  /**
   * Begins to serve the request, and calls `answer` once, later. False when it is not one for here, and then nothing has happened.
   * No answer closes the connection.
   */
  readonly serve: (request: SimpleRequest, socket: Socket, answer: (answer: Answer) => void) => boolean;
  /** Takes the socket over. What was read from it and not served is put back into it. */
  readonly handOver: (socket: Socket | InProcessSocket) => void;
  readonly keepAliveMs: number;
}

interface Slot {
  readonly method: SimpleMethod;
  /** The whole response, one character a byte; null until it is known. */
  text: string | null;
}

const NOTHING = Buffer.alloc(0);

/** How long the end of a connection waits for the client's. */
const LINGER_MS = 2_000;

export class SimpleConnection {
  readonly #socket: Socket;
  readonly #ports: SimplePorts;
  readonly #closed: () => void;
  /** Requests under way, oldest first. */
  readonly #slots: Slot[] = [];
  readonly #headers: HeaderMemory = new HeaderMemory();
  /** Read and not served yet. */
  #unread: Buffer = NOTHING;
  /** The next request is not for here: the socket goes as soon as the responses under way are gone. */
  #leaves = false;
  /** The client has ended its side. */
  #inputEnded = false;
  /** Nothing more is served. */
  #ends = false;

  /** `closed` is called when the connection is no longer this one's: closed, or handed over. */
  constructor(socket: Socket, ports: SimplePorts, closed: () => void) {
    this.#socket = socket;
    this.#ports = ports;
    this.#closed = closed;
    socket.setTimeout(ports.keepAliveMs);
    socket.on("data", this.#onData).on("end", this.#onEnd).on("timeout", this.#onTimeout);
    socket.on("drain", this.#onDrain).on("error", this.#onError).on("close", this.#closed);
  }

  get isIdle(): boolean {
    return this.#slots.length === 0 && this.#unread.length === 0;
  }

  /** Ends the connection behind the responses that are under way. */
  end(): void {
    if (this.#ends) return;
    this.#ends = true;
    this.#unread = NOTHING;
    this.#goOn();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  readonly #onData = (bytes: Buffer): void => {
    if (this.#ends) return;
    // A request in more than two pieces is not worth collecting here.
    const isLast = this.#unread.length > 0;
    this.#unread = isLast ? Buffer.concat([this.#unread, bytes]) : bytes;
    this.#goOn(isLast);
  };

  /** `isLast`: what is read must suffice for a request. */
  #goOn(isLast: boolean = this.#inputEnded): void {
    const isBlocked = !this.#leaves && this.#serveUnread(isLast);
    if (isBlocked || this.#leaves) this.#socket.pause();
    if (this.#slots.length > 0) return;
    if (this.#ends) this.#sayEnd();
    else if (this.#leaves) this.#handOver();
    else if (this.#inputEnded && this.#unread.length === 0) this.#sayEnd();
    else if (!isBlocked) this.#socket.resume();
  }

  /** True when there is more to serve, and it must wait for answers to be known or taken. */
  #serveUnread(isLast: boolean): boolean {
    let at = 0;
    let isBlocked = false;
    while (at < this.#unread.length && !this.#leaves && !isBlocked) {
      const request = readSimpleRequest(this.#unread, at, this.#headers);
      if (request === "incomplete" && !(isLast && at === 0) && !this.#inputEnded) break;
      if (typeof request === "string") this.#leaves = true;
      else if (!this.#isFreeFor(request.method)) isBlocked = true;
      else if (this.#begin(request)) at += request.bytes;
      else this.#leaves = true;
    }
    this.#unread = at === this.#unread.length ? NOTHING : this.#unread.subarray(at);
    return isBlocked;
  }

  #isFreeFor(method: SimpleMethod): boolean {
    if (this.#slots.length >= PIPELINED_REQUESTS_MAX || this.#socket.writableNeedDrain) return false;
    return this.#slots.length === 0 || (method === "POST" && this.#slots[0]!.method === "POST");
  }

  #begin(request: SimpleRequest): boolean {
    const { method } = request;
    const slot: Slot = { method, text: null };
    const isBegun = this.#ports.serve(request, this.#socket, (answer) => {
      slot.text = responseText(answer, method, this.#ports.keepAliveMs);
      if (this.#slots[0] === slot) this.#flush();
    });
    if (isBegun) this.#slots.push(slot);
    return isBegun;
  }

  /** Sends what is answered up to the first request that is not, and goes on with what had to wait for that. */
  #flush(): void {
    let text = "";
    let sent = 0;
    for (; sent < this.#slots.length && this.#slots[sent]!.text !== null; sent += 1) text += this.#slots[sent]!.text!;
    this.#slots.splice(0, sent);
    if (this.#socket.destroyed) return;
    this.#socket.write(text, "latin1");
    if (this.#slots.length === 0) this.#goOn();
  }

  readonly #onDrain = (): void => this.#goOn();

  /** Comes as soon as the client has ended its side, though what it sent before may still wait. */
  readonly #onEnd = (): void => {
    this.#inputEnded = true;
    this.#goOn();
  };

  /** What still comes in is read and dropped for a moment: to close with unread input would reset the connection. */
  #sayEnd(): void {
    this.#ends = true;
    this.#socket.setTimeout(LINGER_MS);
    if (!this.#socket.writableEnded) this.#socket.end();
    this.#socket.resume();
  }

  readonly #onTimeout = (): void => {
    if (this.#slots.length === 0) this.#socket.destroy();
  };

  readonly #onError = (): void => {
    this.#socket.destroy();
  };

  #handOver(): void {
    const socket = this.#socket;
    socket.off("data", this.#onData).off("end", this.#onEnd).off("timeout", this.#onTimeout);
    socket.off("drain", this.#onDrain).off("error", this.#onError).off("close", this.#closed);
    socket.setTimeout(0);
    this.#closed();
    if (this.#inputEnded) return this.#relay();
    socket.unshift(this.#unread);
    this.#unread = NOTHING;
    this.#ports.handOver(socket);
    socket.resume();
  }

  /** Nothing can be put back into a socket whose input has ended: Node is given the rest over a connection of our own. */
  #relay(): void {
    const socket = this.#socket;
    const [ours, theirs] = InProcessSocket.pair();
    socket.on("error", () => socket.destroy()).on("close", () => ours.destroy());
    ours.on("error", () => socket.destroy());
    this.#ports.handOver(theirs);
    ours.pipe(socket);
    ours.end(this.#unread);
    this.#unread = NOTHING;
  }
}

const COMMON_TEXT = linesOf(COMMON);

let endSecond = 0;
let endKeepAliveMs = 0;
let end = "";

/** The end of every head, which is the same for a second: the date is in it. */
function headEnd(keepAliveMs: number): string {
  const now = Math.floor(Date.now() / 1000);
  if (now !== endSecond || keepAliveMs !== endKeepAliveMs) {
    endSecond = now;
    endKeepAliveMs = keepAliveMs;
    const date = new Date(now * 1000).toUTCString();
    end = `${COMMON_TEXT}Date: ${date}\r\nConnection: keep-alive\r\nKeep-Alive: timeout=${keepAliveMs / 1000}\r\n\r\n`;
  }
  return end;
}

/** One character a byte. */
function responseText(answer: Answer, method: SimpleMethod, keepAliveMs: number): string {
  const { headers, body } = partsOf(answer);
  const head = `HTTP/1.1 ${answer.status} ${http.STATUS_CODES[answer.status]!}\r\n${linesOf(headers)}${headEnd(keepAliveMs)}`;
  return method === "HEAD" || body === "" ? head : head + Buffer.from(body, "utf8").toString("latin1");
}

function linesOf(headers: readonly string[]): string {
  let lines = "";
  for (let i = 0; i < headers.length; i += 2) lines += `${headers[i]!}: ${headers[i + 1]!}\r\n`;
  return lines;
}
