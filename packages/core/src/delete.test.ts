import { expect, test } from "vitest";
import { generation, lsn, position } from "./brand.ts";
import { newStreamState } from "./create.ts";
import { decideDelete, type DeleteOutcome } from "./delete.ts";
import type { StreamState } from "./stream-state.ts";

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

const soft = { ...open, softDeleted: true };

test.each<[string, StreamState | undefined, number, DeleteOutcome, DeleteOutcome]>([
  ["an open stream", open, 1999, "delete", "soft-delete"],
  ["a closed stream", { ...open, closed: true }, 1999, "delete", "soft-delete"],
  ["an expired stream", open, 2000, "missing", "gone"],
  ["a soft-deleted stream", soft, 1999, "gone", "gone"],
  ["a soft-deleted stream past its time", soft, 2000, "gone", "gone"],
  ["a stream whose forks are gone", { ...soft, deleted: true }, 1999, "missing", "missing"],
  ["a deleted stream", { ...open, deleted: true }, 1000, "missing", "missing"],
  ["no stream", undefined, 0, "missing", "missing"],
])("a DELETE of %s, without forks and with them", (_name, state, nowMs, without, withForks) => {
  expect(decideDelete(state, false, nowMs)).toBe(without);
  expect(decideDelete(state, true, nowMs)).toBe(withForks);
});
