import type { StreamErrorCode } from "@coldbrook/core";
import { describe, expect, test } from "vitest";
import { badRequest, faultProblem, notFound, problemBody } from "./problem.ts";

/** The compiler asks for every code here; the table test asks for every status. */
const PROMISED: Readonly<Record<StreamErrorCode, readonly [status: number, retry: boolean]>> = {
  "wal-full": [503, true],
  "disk-full": [507, true],
  draining: [503, true],
  "too-many-waiters": [429, true],
  "store-unavailable": [503, true],
  "corrupt-object": [502, false],
  "corrupt-wal": [500, false],
  "corrupt-catalog": [500, false],
  gone: [410, false],
};

describe("a fault", () => {
  test.each(Object.entries(PROMISED))(
    "of code %s has its status, and Retry-After where trying again helps",
    (code, [status, retry]) => {
      const problem = faultProblem(code as StreamErrorCode, "in file:/var/lib/streams/objects, s3://bucket/prefix");
      expect(problem).toMatchObject({ status, code });
      expect(problem.detail.length).toBeGreaterThan(20);
      expect(problem.detail).not.toMatch(/var|bucket/);
      const headers = problem.headers ?? [];
      expect(headers[0]).toBe(retry ? "Retry-After" : undefined);
      if (retry) expect(Number(headers[1])).toBeGreaterThan(0);
    },
  );
});

test("a fault names the damaged object or segment to the client, and not where it lies", () => {
  const object = faultProblem(
    "corrupt-object",
    "bytes of objects/0000000000000040-0002.cbo in file:/srv/x/objects are wrong",
  );
  expect(object.detail).toContain("(objects/0000000000000040-0002.cbo)");
  expect(object.detail).not.toContain("/srv");
  expect(faultProblem("corrupt-wal", "/srv/wal/0000000000000040.wal: bad").detail).toContain("(0000000000000040.wal)");
});

describe("a problem's body", () => {
  test("is one line of RFC 9457 JSON that repeats the status", () => {
    const body = problemBody(notFound('a"b'));
    expect(body.endsWith("\n")).toBe(true);
    expect(JSON.parse(body)).toEqual({
      type: "about:blank",
      title: "Not Found",
      status: 404,
      code: "not-found",
      detail: 'there is no stream "a"b"',
    });
  });

  test.each([400, 403, 404, 405, 409, 408, 410, 413, 414, 415, 417, 429, 431, 500, 501, 502, 503, 507])(
    "has a title for %i",
    (status) => {
      const { title } = JSON.parse(problemBody({ ...badRequest("x"), status })) as { title: string };
      expect(title).not.toBe("Error");
    },
  );
});
