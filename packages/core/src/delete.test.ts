import { expect, test } from "vitest";
import { generation, lsn, position } from "./brand.ts";
import { newStreamState } from "./create.ts";
import { decideDelete } from "./delete.ts";

const id = generation(4);
const open = newStreamState({
  identity: {
    id,
    path: "s",
    config: { contentType: "text/plain", ttlSeconds: 1, expiresAtMs: null },
    createdAtMs: 0,
    lineage: [{ generation: id, first: position(0), source: null }],
  },
  tail: position(0),
  closed: false,
  touchedAtMs: 1000,
  lsn: lsn(1),
});

test("a live stream is deleted, closed or not", () => {
  expect(decideDelete(open, 1999)).toBe("delete");
  expect(decideDelete({ ...open, closed: true }, 1999)).toBe("delete");
});

test("an unknown, deleted or expired stream is missing", () => {
  expect(decideDelete(undefined, 0)).toBe("missing");
  expect(decideDelete({ ...open, deleted: true }, 1000)).toBe("missing");
  expect(decideDelete(open, 2000)).toBe("missing");
});
