/** The planted bugs: each must be found, or the simulation proves nothing. */
import type { Patch } from "./patch.ts";

export const PATCHES: readonly Patch[] = [
  {
    name: "ack-before-sync",
    breaks: "invariant 1: writers are answered once their batch is written, before it is on disk",
    file: "server/dist/wal/group-commit.js",
    find: "return file.sync(ended);",
    replace: "return ended(null), file.sync(() => undefined);",
  },
  {
    name: "release-before-publish",
    breaks: "invariant 6: a WAL segment goes before the catalog knows where its bytes are",
    file: "tiering/dist/roller.js",
    find: "await publish(record);",
    replace: "await release(segment); await publish(record); return;",
  },
  {
    name: "skip-directory-sync",
    breaks: "invariant 1: a new WAL segment's name is not made durable",
    file: "server/dist/wal/storage-directory.js",
    find: "fs.fdatasyncSync(fd);\n            syncDirectoryNow(this.#directory);",
    replace: "fs.fdatasyncSync(fd);",
  },
  {
    name: "discard-unflushed",
    breaks: "invariant 6: a start removes segments by a catalog that is not on disk yet",
    file: "server/dist/shard.js",
    find: "await catalog.flushed();\n        for (const base of recovered.released)",
    replace: "for (const base of recovered.released)",
  },
  {
    name: "release-unflushed",
    breaks: "invariant 6: a segment goes when its roll is committed to the catalog, and not yet flushed",
    file: "server/dist/shard.js",
    find: "await catalog.flushed();\n        catalog.recordSize();",
    replace: "catalog.recordSize();",
  },
  {
    name: "drop-close-flag",
    breaks: "invariant 3: an append that closes is logged without its close",
    file: "server/dist/engine/frame-queue.js",
    find: "open.closed = true;",
    replace: "",
  },
  {
    name: "retry-failed-sync",
    breaks: "invariant 7: a sync that failed is tried again, and succeeds with nothing written",
    file: "server/dist/wal/group-commit.js",
    find: 'return this.#fail("sync", syncError);',
    replace: "target.file.syncNow();",
  },
  {
    name: "producer-forgotten",
    breaks: "invariant 3: producers' states do not reach the catalog",
    file: "server/dist/engine/settlement.js",
    find: "stream.dirtyProducers.set(id, { epoch, seq });",
    replace: "void id;",
  },
  {
    name: "truncate-in-the-middle",
    breaks: "invariant 8: recovery takes any unreadable batch for a torn one",
    file: "server/dist/wal/recovery.js",
    find: "if (proof !== null) {",
    replace: 'if (proof === "never") {',
  },
  {
    name: "trust-what-was-read",
    breaks: "invariant 1: recovery does not write the last segment's bytes again, which may not be durable",
    file: "server/dist/wal/recovery.js",
    find: "await storage.settle(segment.base, bytes.subarray(0, end));",
    replace: "void 0;",
  },
  {
    name: "reuse-a-generation",
    breaks: "invariant 4: a start mints the newest generation once more",
    file: "server/dist/engine/frame-queue.js",
    find: "this.#generation = ports.generation;",
    replace: "this.#generation = Math.max(0, ports.generation - 1);",
  },
  {
    name: "leave-a-dead-extent",
    breaks:
      "invariant 6: a roll that is published again leaves a dead stream's extent, and a live one's object is collected",
    file: "server/dist/engine/publisher.js",
    find: "catalog.extents.remove(extent.stream, extent.start);",
    replace: "void extent;",
  },
];
