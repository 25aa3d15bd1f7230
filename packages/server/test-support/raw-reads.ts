/** Reads over raw connections, as the bytes come: for the tests of what a response says and how its body is coded. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { createCipheriv } from "node:crypto";
import { gunzipSync, inflateSync } from "node:zlib";
import type { ObjectStore } from "@coldbrook/core";
import { MemoryObjectStore } from "@coldbrook/tiering";
import { startColdbrook, type Coldbrook } from "../src/compose.ts";
import { readSettings, type Settings } from "../src/settings.ts";
import { temporaryDirectory } from "./shard.ts";

export const MIB: number = 1024 * 1024;
const TEXT = "text/plain";
export interface Answer {
  readonly status: number;
  readonly line: string;
  readonly headers: ReadonlyMap<string, string>;
  /** As it came, without the framing of the chunked transfer. */
  readonly body: Buffer;
  /** The body came to the end that its framing announces. */
  readonly isWhole: boolean;
}

/** A server in this process with a memory store; compression is on unless said otherwise. */
export class RawReads implements AsyncDisposable {
  readonly #coldbrook: Coldbrook;
  readonly #directory: AsyncDisposable;
  readonly #sockets: Socket[] = [];

  private constructor(coldbrook: Coldbrook, directory: AsyncDisposable) {
    this.#coldbrook = coldbrook;
    this.#directory = directory;
  }

  static async start(
    settings: Partial<Settings> = {},
    store: ObjectStore = new MemoryObjectStore(),
  ): Promise<RawReads> {
    const directory = await temporaryDirectory();
    const given = readSettings(["--data-dir", directory.path, "--port", "0", "--compression", "on"], {});
    return new RawReads(await startColdbrook({ ...given, ...settings }, { store }), directory);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await this.#coldbrook.close();
    await this.#directory[Symbol.asyncDispose]();
  }

  async write(method: "PUT" | "POST", name: string, body: string | Buffer, more: object = {}): Promise<void> {
    const headers = { "content-type": TEXT, ...more };
    const response = await fetch(`${this.#coldbrook.url}/v1/stream/${name}`, {
      method,
      headers,
      body: body as NonNullable<RequestInit["body"]>,
    });
    if (!response.ok) throw new Error(`${method} ${name}: ${response.status} ${await response.text()}`);
  }

  /** A stream of messages of 128 KiB. */
  async fill(name: string, body: Buffer): Promise<void> {
    await this.write("PUT", name, "");
    for (let at = 0; at < body.length; at += 128 * 1024) {
      await this.write("POST", name, body.subarray(at, at + 128 * 1024));
    }
  }

  async health(): Promise<Record<string, number>> {
    return (await fetch(`${this.#coldbrook.url}/health`)).json() as Promise<Record<string, number>>;
  }

  async untilHealth(holds: (facts: Record<string, number>) => boolean): Promise<void> {
    while (!holds(await this.health())) await turn();
  }

  async connect(): Promise<Socket> {
    const { hostname, port } = new URL(this.#coldbrook.url);
    const socket = connect(Number(port), hostname);
    this.#sockets.push(socket.on("error", () => undefined));
    await once(socket, "connect");
    return socket;
  }

  /** Sends one request, header lines as they are given, and reads until the server ends the connection. */
  async ask(request: string, ...lines: readonly string[]): Promise<Answer> {
    const socket = await this.connect();
    const parts: Buffer[] = [];
    socket.on("data", (part: Buffer) => parts.push(part));
    socket.write(requestText(request, ["Connection: close", ...lines]));
    await once(socket, "close");
    return parseAnswer(Buffer.concat(parts));
  }

  get(target: string, encoding = "gzip", ...lines: readonly string[]): Promise<Answer> {
    return this.ask(`GET ${target} HTTP/1.1`, `Accept-Encoding: ${encoding}`, ...lines);
  }
}

export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export function requestText(request: string, lines: readonly string[]): string {
  return `${[request.replace(" ", " /v1/stream/"), "Host: x", ...lines].join("\r\n")}\r\n\r\n`;
}

export function parseAnswer(received: Buffer): Answer {
  const end = received.indexOf("\r\n\r\n");
  const [line = "", ...fields] = received.subarray(0, end).toString("latin1").split("\r\n");
  const headers = new Map(fields.map((field) => [field.split(": ", 1)[0]!.toLowerCase(), field.replace(/^.*?: /, "")]));
  const rest = received.subarray(end + 4);
  const framed = headers.get("transfer-encoding") === "chunked" ? unchunked(rest) : null;
  return {
    status: Number(line.split(" ")[1]),
    line,
    headers,
    body: framed?.body ?? rest,
    isWhole: framed?.isWhole ?? rest.length === Number(headers.get("content-length") ?? rest.length),
  };
}

function unchunked(bytes: Buffer): { body: Buffer; isWhole: boolean } {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const line = bytes.indexOf("\r\n", at);
    const length = Number.parseInt(bytes.toString("latin1", at, line), 16);
    if (length === 0) return { body: Buffer.concat(parts), isWhole: true };
    parts.push(bytes.subarray(line + 2, line + 2 + length));
    at = line + 2 + length + 2;
  }
  return { body: Buffer.concat(parts), isWhole: false };
}

export function decoded({ headers, body }: Answer): Buffer {
  const coding = headers.get("content-encoding");
  return coding === "gzip" ? gunzipSync(body) : coding === "deflate" ? inflateSync(body) : body;
}

/** Text that compresses to a few per cent. */
export function repetitive(bytes: number): Buffer {
  return Buffer.alloc(bytes, "one more line of the same text, over and over\n");
}

/** Bytes that do not compress, the same ones each time. */
export function random(bytes: number): Buffer {
  return createCipheriv("aes-128-ctr", Buffer.alloc(16, 7), Buffer.alloc(16)).update(Buffer.alloc(bytes));
}

export function shown({ headers }: Answer): (string | undefined)[] {
  return ["content-encoding", "vary", "content-length"].map((name) => headers.get(name));
}
