import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Offset } from "./brand.ts";
import { encodeControlEvent, encodeDataEvent } from "./sse.ts";
import type { DataKind } from "./sse.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** The event stream interpretation of the HTML standard, for the two fields that are used. */
function parseEvents(bytes: Uint8Array): { type: string; data: string }[] {
  const events: { type: string; data: string }[] = [];
  let type = "message";
  let data: string[] = [];
  const lines = decoder.decode(bytes).split(/\r\n|\n|\r/);
  // What follows the last line end is no line.
  lines.pop();
  for (const line of lines) {
    if (line === "") {
      if (data.length > 0) events.push({ type, data: data.join("\n") });
      type = "message";
      data = [];
      continue;
    }
    const colon = line.indexOf(":");
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") type = value;
    if (name === "data") data.push(value);
  }
  return events;
}

function encoded(kind: DataKind, payload: string): string {
  return decoder.decode(encodeDataEvent(kind, encoder.encode(payload)));
}

describe("data events", () => {
  test.each<[DataKind, string, string]>([
    ["json", '{"a":1},2,', 'data:[{"a":1},2]'],
    ["json", '"a\\nb",', 'data:["a\\nb"]'],
    ["json", "", "data:[]"],
    ["text", "hello", "data:hello"],
    ["text", " hello", "data:  hello"],
    ["text", "\thello", "data:\thello"],
    ["text", "a\n b\nc", "data:a\ndata:  b\ndata:c"],
    ["literal-text", "a\n b\nc", "data:a\ndata: b\ndata:c"],
    ["text", "a\r\nb\rc\n", "data:a\ndata:b\ndata:c\ndata:"],
    ["text", "\n\r", "data:\ndata:\ndata:"],
    ["text", "", "data:"],
    ["text", "x\r\n\r\nevent: control\r\n\r\n", "data:x\ndata:\ndata:event: control\ndata:\ndata:"],
    ["base64", "Hello", "data:SGVsbG8="],
    ["base64", "Hell", "data:SGVsbA=="],
    ["base64", "Hel", "data:SGVs"],
    ["base64", "", "data:"],
  ])("%s %j", (kind, payload, lines) => {
    expect(encoded(kind, payload)).toBe(`event: data\n${lines}\n\n`);
  });

  test("a reader gets back every text, line by line", () => {
    const text = fc.string({
      unit: fc.oneof(
        fc.constantFrom(" ", "\n", "\r", "\r\n", ":", "data:", "\u0000"),
        fc.string({ unit: "grapheme", maxLength: 2 }),
      ),
    });
    fc.assert(
      fc.property(text, (text) => {
        const event = encodeDataEvent("text", encoder.encode(text));
        expect(parseEvents(event)).toEqual([{ type: "data", data: text.replaceAll(/\r\n|\r/g, "\n") }]);
      }),
      { numRuns: 1000 },
    );
  });

  test("a reader gets back every JSON message", () => {
    fc.assert(
      fc.property(fc.array(fc.json()), (messages) => {
        const stored = encoder.encode(messages.map((message) => `${JSON.stringify(JSON.parse(message))},`).join(""));
        const [event, ...more] = parseEvents(encodeDataEvent("json", stored));
        expect(more).toEqual([]);
        expect(JSON.parse(event!.data)).toEqual(messages.map((message) => JSON.parse(message)));
      }),
    );
  });

  test("a reader gets back every byte", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (payload) => {
        const events = parseEvents(encodeDataEvent("base64", payload));
        expect(events).toEqual([{ type: "data", data: Buffer.from(payload).toString("base64") }]);
      }),
    );
  });
});

describe("control events", () => {
  const nextOffset = "0000000000000001_0000000000000002" as Offset;

  test.each<[{ cursor: string | null; upToDate: boolean; closed: boolean }, string]>([
    [{ cursor: "7", upToDate: false, closed: false }, `{"streamNextOffset":"${nextOffset}","streamCursor":"7"}`],
    [
      { cursor: "7", upToDate: true, closed: false },
      `{"streamNextOffset":"${nextOffset}","streamCursor":"7","upToDate":true}`,
    ],
    [
      { cursor: "7", upToDate: true, closed: true },
      `{"streamNextOffset":"${nextOffset}","upToDate":true,"streamClosed":true}`,
    ],
    [
      { cursor: null, upToDate: false, closed: true },
      `{"streamNextOffset":"${nextOffset}","upToDate":true,"streamClosed":true}`,
    ],
  ])("%j", (control, json) => {
    const text = decoder.decode(encodeControlEvent({ nextOffset, ...control }));
    expect(text).toBe(`event: control\ndata:${json}\n\n`);
  });
});
