/** Messages that name themselves and carry a checksum, so that torn, foreign and repeated bytes tell on themselves. */
import { crc32 } from "node:zlib";
import type { SeededRandom } from "./random.ts";

export type StreamKind = "octet" | "text" | "json";

export const CONTENT_TYPES: Readonly<Record<StreamKind, string>> = {
  octet: "application/octet-stream",
  text: "text/plain; charset=utf-8",
  json: "application/json",
};

/** One write request's body and the bytes that it leaves in the stream. */
export interface Payload {
  readonly body: Buffer;
  readonly stored: Buffer;
}

const EMPTY: Payload = { body: Buffer.alloc(0), stored: Buffer.alloc(0) };
const TEXT_PIECES = ["a", "bc", " ", "\n", "\n ", "é", "漢", "data:", "\n\n", "event: control", "0", "🙂", "xyz"];

function fillerBytes(random: SeededRandom): number {
  const size = random.next();
  if (size < 0.7) return random.integer(0, 200);
  if (size < 0.95) return random.integer(200, 6_000);
  if (size < 0.995) return random.integer(6_000, 40_000);
  return random.integer(66_000, 180_000);
}

function filler(kind: StreamKind, random: SeededRandom): Buffer {
  const bytes = fillerBytes(random);
  if (kind !== "octet") {
    const unit = Array.from({ length: 24 }, () => random.pick(TEXT_PIECES)).join("");
    return Buffer.from(
      unit
        .repeat(Math.ceil(bytes / unit.length))
        .slice(0, bytes)
        .replace(/[\uD800-\uDBFF]$/, "x"),
    );
  }
  const unit = Buffer.from(Array.from({ length: 97 }, () => random.integer(0, 255)));
  return Buffer.alloc(bytes, unit);
}

function plainMessage(kind: "octet" | "text", id: string, random: SeededRandom): Buffer {
  const fill = filler(kind, random);
  const start = Buffer.concat([Buffer.from(`#${id} ${fill.length} `), fill]);
  return Buffer.concat([start, Buffer.from(` ${crc32(start).toString(16).padStart(8, "0")};`)]);
}

/** A JSON message twice: as sent, with white space, and as it must be stored. */
function jsonMessage(id: string, random: SeededRandom): { sent: string; stored: string } {
  const fill = JSON.stringify(filler("text", random).toString("utf8"));
  const number = random.pick(["9007199254740993", "1.0", "1e400", "-0", "12"]);
  const crc = crc32(`${id}${fill}`).toString(16);
  const tokens = [
    "{",
    '"id"',
    ":",
    `"${id}"`,
    ",",
    '"n"',
    ":",
    number,
    ",",
    '"fill"',
    ":",
    fill,
    ",",
    '"crc"',
    ":",
    `"${crc}"`,
    "}",
  ];
  const space = random.pick(["", "", " ", "\n\t"]);
  return { sent: tokens.join(space), stored: `${tokens.join("")},` };
}

/** A payload of one message, or for JSON of up to `batch` messages in one request. `id` is unique to the request. */
export function makePayload(kind: StreamKind, id: string, batch: number, random: SeededRandom): Payload {
  if (batch === 0) return EMPTY;
  if (kind !== "json") {
    const message = plainMessage(kind, id, random);
    return { body: message, stored: message };
  }
  const messages = Array.from({ length: batch }, (_, index) => jsonMessage(`${id}.${index}`, random));
  const sent = messages.map((message) => message.sent);
  const body = batch === 1 && random.chance(0.5) ? (sent[0] ?? "") : ` [${sent.join(" ,")}]\n`;
  return { body: Buffer.from(body), stored: Buffer.from(messages.map((message) => message.stored).join("")) };
}

/** The request id that the bytes at `at` claim to start with, or undefined when no message starts there. */
export function idAt(content: Buffer, at: number): string | undefined {
  const start = content.subarray(at, at + 80).toString("latin1");
  return /^(?:#|\{"id":")(\d+\.\d+\.\d+)[ .]/.exec(start)?.[1];
}

/** A few bytes around `at`, for a failure message. */
export function excerpt(content: Buffer, at: number): string {
  return JSON.stringify(content.subarray(at, at + 100).toString("latin1"));
}
