import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { delayOf, FaultTable, faultyBody, parseFaultOrder, sseEventText } from "./fault-table.ts";

const always = () => 0;
const never = () => 1 - 2 ** -53;

describe("the fault table", () => {
  test("probability is how often random numbers let a request through", () => {
    const table = new FaultTable(() => 0.5);
    table.inject("/s", { status: 500, probability: 0.5 });
    expect(table.take("/s", "GET")).toBeNull();
    table.inject("/s", { status: 500, probability: 0.6 });
    expect(table.take("/s", "GET")).toMatchObject({ status: 500 });
    expect(table.isEmpty).toBe(true);
  });

  test("the caller's object is neither kept nor changed", () => {
    const table = new FaultTable(always);
    const fault = { status: 500, count: 2 };
    table.inject("/s", fault);
    table.take("/s", "GET");
    expect(fault.count).toBe(2);
  });

  test("jitter adds to a delay, and is none without one", () => {
    expect(delayOf({ count: 1, delayMs: 10, jitterMs: 100 }, always)).toBe(10);
    expect(delayOf({ count: 1, delayMs: 10, jitterMs: 100 }, never)).toBeCloseTo(110);
    expect(delayOf({ count: 1, jitterMs: 100 }, never)).toBe(0);
  });

  test("a corrupted body has its length, is not the original's bytes, and is no JSON", () => {
    fc.assert(
      fc.property(fc.json(), (json) => {
        const body = Buffer.from(json);
        const before = Buffer.from(body);
        const spoilt = faultyBody(body, { count: 1, corruptBody: true });
        expect(body.equals(before)).toBe(true);
        expect(spoilt).toHaveLength(body.length);
        expect(() => JSON.parse(Buffer.from(spoilt).toString()) as unknown).toThrow(SyntaxError);
      }),
    );
  });

  test("an order's fields are read, and the others left alone", () => {
    const order = {
      path: "/s",
      count: 2,
      status: 503,
      retryAfter: 3,
      delayMs: 1,
      jitterMs: 2,
      dropConnection: true,
      truncateBodyBytes: 4,
      corruptBody: true,
      method: "GET",
      probability: 0.5,
      injectSseEvent: { eventType: "e", data: "d" },
    };
    const { path, ...fault } = order;
    expect(parseFaultOrder(Buffer.from(JSON.stringify({ ...order, unknown: 1 })))).toEqual({
      kind: "fault",
      path,
      fault,
    });
    expect(sseEventText(order.injectSseEvent)).toBe("event: e\ndata: d\n\n");
  });
});
