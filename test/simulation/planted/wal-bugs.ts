/** Bugs of the write-ahead log: its commits, its files, its recovery, and who may have the data directory. */
import type { Patch } from "./patch.ts";

export const WAL_BUGS: readonly Patch[] = [
  {
    name: "ack-before-sync",
    breaks: "invariant 1: writers are answered once their batch is written, before it is on disk",
    file: "server/dist/wal/group-commit.js",
    find: "return file.sync(ended);",
    replace: "return ended(null), file.sync(() => undefined);",
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
    name: "retry-failed-sync",
    breaks: "invariant 7: a sync that failed is tried again, and succeeds with nothing written",
    file: "server/dist/wal/group-commit.js",
    find: 'return this.#fail("sync", syncError);',
    replace: "target.file.syncNow();",
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
    name: "settle-before-sync",
    breaks: "invariant 2: readers are given bytes that are written and not yet synced",
    file: "server/dist/wal/group-commit.js",
    find: `this.#sync(target.file, batch.frames.length, bytes, (syncError) => {
                    if (syncError !== null)
                        return this.#fail("sync", syncError);
                    this.#settle(batch, placed.committed, bytes);`,
    replace: `this.#ports.settle(placed.committed, bytes);
                this.#sync(target.file, batch.frames.length, bytes, (syncError) => {
                    if (syncError !== null)
                        return this.#fail("sync", syncError);
                    this.#settle(batch, [], 0);`,
  },
  {
    name: "short-write-taken-for-whole",
    breaks: "invariant 1: a write that stopped where the disk is full counts as done",
    file: "server/dist/wal/storage-directory.js",
    find: "from += written;\n                to += written;",
    replace: "from += buffer.length;\n                to += buffer.length;",
  },
  {
    name: "skip-data-directory-sync",
    breaks: "invariant 1: the names that lead to a new data directory are not made durable",
    file: "server/dist/data-dir.js",
    find: "    syncAbove(root);\n",
    replace: "",
  },
  {
    name: "ignore-the-lock",
    breaks: "one process for a data directory: a living holder is not asked for",
    file: "server/dist/data-dir.js",
    find: "if (holder !== null && (await isAlive(holder, file))) {",
    replace: "if (holder?.pid === 0) {",
  },
  {
    name: "ignore-the-heartbeat",
    breaks: "one process for a data directory: a holder in another container counts as dead",
    file: "server/dist/data-dir.js",
    find: "return beats(file);",
    replace: "return false;",
  },
  {
    name: "keep-a-stale-lock",
    breaks: "with all faults over the server starts: a killed process holds its data directory for good",
    file: "server/dist/data-dir.js",
    find: 'if (error.code === "ESRCH")\n            return false;',
    replace: 'if (error.code === "ESRCH")\n            return true;',
  },
  {
    name: "replay-stops-early",
    breaks: "invariant 3: recovery leaves out the last frame of a batch",
    file: "server/dist/wal/recovery.js",
    find: "for (const frame of batch.frames)",
    replace: "for (const frame of batch.frames.slice(0, Math.max(1, batch.frames.length - 1)))",
  },
  {
    name: "replay-what-is-applied",
    breaks: "invariant 8: recovery applies frames that the catalog has already",
    file: "core/dist/replay.js",
    find: "if (state !== undefined && lsnEnd <= state.lsn)\n        return state;",
    replace: "",
  },
  {
    name: "discard-one-segment-more",
    breaks: "invariant 6: a start removes the first segment that is not rolled",
    file: "server/dist/wal/recovery.js",
    find: "s.base < options.rolledLsn)",
    replace: "s.base <= options.rolledLsn)",
  },
  {
    name: "close-under-a-reader",
    breaks: "a released segment's descriptor stays until its last reader is done: here it does not",
    file: "server/dist/wal/wal.js",
    find: "if (segment.released && segment.readers === 0)",
    replace: "if (segment.released)",
  },
  {
    name: "ignore-the-budget",
    breaks: "invariant 9: appends are taken however full the log is",
    file: "server/dist/engine/frame-queue.js",
    find: "if (!this.isFull(0))",
    replace: "if (!this.isFull(Infinity))",
  },
];
