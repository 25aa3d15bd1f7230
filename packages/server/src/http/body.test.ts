import { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import { REQUEST_BODIES_BYTES_MAX } from "@coldbrook/core";
import { describe, expect, test } from "vitest";
import { BodyReceiver, type ReceivedBody } from "./body.ts";

/** A request whose body the test sends. */
function requestOf(headers: Record<string, string>): IncomingMessage {
  const request = new IncomingMessage(new Socket());
  Object.assign(request.headers, headers);
  return request;
}

const chunked = (): IncomingMessage => requestOf({ "transfer-encoding": "chunked" });
const declared = (bytes: number): IncomingMessage => requestOf({ "content-length": String(bytes) });

/** Parts that are the same memory over and over: large in sum alone. */
function send(request: IncomingMessage, part: Uint8Array, times = 1): void {
  for (let i = 0; i < times; i++) request.emit("data", part);
}

function release(body: ReceivedBody): Buffer {
  if (body.kind !== "body") throw new Error(`no body but ${body.kind}`);
  body.release();
  return Buffer.from(body.bytes);
}

describe("a body", () => {
  test("is given back whole, in its order, and is held until it is released", async () => {
    const bodies = new BodyReceiver(1_000);
    const request = chunked();
    const receiving = bodies.receive(request);
    send(request, Buffer.from("one "));
    send(request, Buffer.from("two "));
    send(request, Buffer.from("three"));
    expect(bodies.heldBytes).toBe(13);
    request.emit("end");
    const body = await receiving;
    expect(bodies.heldBytes).toBe(13);
    expect(release(body).toString()).toBe("one two three");
    expect(bodies.heldBytes).toBe(0);
  });

  test.each([{}, { "content-length": "0" }])("that the headers %j rule out is empty at once", async (headers) => {
    const bodies = new BodyReceiver(10);
    const body = await bodies.receive(requestOf(headers as Record<string, string>));
    expect(release(body).length).toBe(0);
    expect(bodies.heldBytes).toBe(0);
  });

  test("that is chunked and empty is empty", async () => {
    const bodies = new BodyReceiver(10);
    const request = chunked();
    const receiving = bodies.receive(request);
    request.emit("end");
    expect(release(await receiving).length).toBe(0);
  });

  test("of just the most bytes is taken, of one more is 413 before a byte of it is read", async () => {
    const bodies = new BodyReceiver(10);
    const request = declared(10);
    const receiving = bodies.receive(request);
    send(request, Buffer.alloc(10));
    request.emit("end");
    expect(release(await receiving).length).toBe(10);
    const larger = declared(11);
    const refused = await bodies.receive(larger);
    expect(refused).toMatchObject({ kind: "refused", problem: { status: 413, code: "body-too-large", close: true } });
    expect(refused).toMatchObject({ problem: { detail: expect.stringContaining("--body-bytes-max") as string } });
    expect(larger.listenerCount("data")).toBe(0);
    expect(bodies.judge(declared(11))?.status).toBe(413);
    expect(bodies.judge(declared(10))).toBeNull();
  });

  test("that turns out too large is 413, and nothing of it stays held", async () => {
    const bodies = new BodyReceiver(10);
    const request = chunked();
    const receiving = bodies.receive(request);
    send(request, Buffer.alloc(6), 2);
    expect(await receiving).toMatchObject({ kind: "refused", problem: { status: 413, close: true } });
    expect(bodies.heldBytes).toBe(0);
    send(request, Buffer.alloc(6));
    expect(bodies.heldBytes).toBe(0);
  });

  test.each(["close", "error"])(
    "whose client goes away (%s) is aborted, and nothing of it stays held",
    async (event) => {
      const bodies = new BodyReceiver(10);
      const request = declared(9);
      const receiving = bodies.receive(request);
      send(request, Buffer.alloc(6));
      request.emit(event, event === "error" ? new Error("reset") : undefined);
      expect(await receiving).toEqual({ kind: "aborted" });
      expect(bodies.heldBytes).toBe(0);
    },
  );
});

describe("all bodies together", () => {
  const part = Buffer.alloc(8 * 1024 * 1024);
  const parts = REQUEST_BODIES_BYTES_MAX / part.length;

  test("are bounded: what would pass the bound is 503 with Retry-After, and room that is given back is used again", async () => {
    const bodies = new BodyReceiver(2 * REQUEST_BODIES_BYTES_MAX);
    const [large, small] = [chunked(), chunked()];
    const receiving = bodies.receive(large);
    send(large, part, parts - 1);
    const busy = { kind: "refused", problem: { status: 503, headers: ["Retry-After", "1"], close: true } };
    expect(await bodies.receive(declared(part.length + 1))).toMatchObject(busy);
    expect(bodies.judge(declared(part.length))).toBeNull();
    const second = bodies.receive(small);
    send(small, part);
    send(small, Buffer.alloc(1));
    expect(await second).toMatchObject(busy);
    expect(bodies.heldBytes).toBe(REQUEST_BODIES_BYTES_MAX - part.length);
    large.emit("close");
    expect(await receiving).toEqual({ kind: "aborted" });
    expect(bodies.judge(declared(part.length + 1))).toBeNull();
  });
});
