/** Bugs of the engine: decisions, frames, settlement, expiry, forks, and what the catalog is told. */
import type { Patch } from "./patch.ts";

export const ENGINE_BUGS: readonly Patch[] = [
  {
    name: "drop-close-flag",
    breaks: "invariant 3: an append that closes is logged without its close",
    file: "server/dist/engine/frame-queue.js",
    find: "open.closed = true;",
    replace: "",
  },
  {
    name: "producer-forgotten",
    breaks: "invariant 3: producers' states do not reach the catalog",
    file: "server/dist/engine/settlement.js",
    find: "stream.dirtyProducers.set(id, { epoch, seq });",
    replace: "void id;",
  },
  {
    name: "reuse-a-generation",
    breaks: "invariant 4: a start mints the newest generation once more",
    file: "server/dist/engine/frame-queue.js",
    find: "this.#generation = ports.generation;",
    replace: "this.#generation = Math.max(0, ports.generation - 1);",
  },
  {
    name: "decide-against-durable",
    breaks: "appends follow one another: two in one batch are decided at the same tail",
    file: "server/dist/engine/write-path.js",
    find: "const outcome = decideAppend(stream.pending, known, {",
    replace: "const outcome = decideAppend(stream.durable, known, {",
  },
  {
    name: "answer-duplicates-at-once",
    breaks: "invariant 1: a duplicate of an append under way is answered before that one is durable",
    file: "server/dist/engine/write-path.js",
    find: 'return { batch: stream.lastBatch, answer: () => ({ kind: "decided", outcome, state: stream.durable }) };',
    replace: 'return { batch: null, answer: () => ({ kind: "decided", outcome, state: stream.durable }) };',
  },
  {
    name: "delete-before-durable",
    breaks: "invariant 1: a delete is answered at once",
    file: "server/dist/engine/write-path.js",
    find: 'return { batch, answer: () => "deleted" };',
    replace: 'return { batch: null, answer: () => "deleted" };',
  },
  {
    name: "forget-forks-at-delete",
    breaks: "a stream with forks is kept for them: here it is deleted",
    file: "server/dist/engine/write-path.js",
    find: "const hasForks = stream !== undefined && this.#ports.forks.hasForks(stream.pending.identity.id);",
    replace: "const hasForks = false;",
  },
  {
    name: "fork-link-not-saved",
    breaks: "a stream with forks is kept for them: the catalog does not know of any",
    file: "server/dist/engine/catalog-sync.js",
    find: "catalog.forks.put(source, id);",
    replace: "void id;",
  },
  {
    name: "cascade-forgotten",
    breaks: "a soft-deleted source goes with its last fork: here it stays",
    file: "server/dist/engine/frame-queue.js",
    find: 'this.#delete(source, "request");',
    replace: "break;",
  },
  {
    name: "fork-one-byte-off",
    breaks: "a fork parts from its source where it was asked to: here one byte behind",
    file: "server/dist/engine/stream-reader.js",
    find: "const at = from + request.subOffset;",
    replace: "const at = from + request.subOffset + 1;",
  },
  {
    name: "fork-of-a-fork",
    breaks: "a fork of a fork finds what both inherit: here it looks for all of it in the middle one",
    file: "core/dist/lineage.js",
    find: "source: holder ?? source.id,",
    replace: "source: source.id,",
  },
  {
    name: "expire-by-creation",
    breaks: "a TTL counts from the last use: here from the creation",
    file: "core/dist/expiry.js",
    find: "state.touchedAtMs + ttlSeconds * MS_PER_SECOND",
    replace: "state.identity.createdAtMs + ttlSeconds * MS_PER_SECOND",
  },
  {
    name: "stream-seq-not-logged",
    breaks: "invariant 3: Stream-Seq is not in the frame",
    file: "server/dist/engine/frame-queue.js",
    find: "open.streamSeq = addition.streamSeq;",
    replace: "void open;",
  },
  {
    name: "closer-not-logged",
    breaks: "invariant 3: who closed a stream is not in the frame, and its retry is refused after a restart",
    file: "server/dist/engine/frame-queue.js",
    find: "open.closedBy = next.closedBy;",
    replace: "",
  },
  {
    name: "producer-before-its-data",
    breaks: "invariant 3: the catalog may have a producer's state before its append is durable",
    file: "server/dist/engine/write-path.js",
    find: "const { producer, streamSeq, close } = input;",
    replace: `const { producer, streamSeq, close } = input;
        const { catalog } = this.#ports;
        if (producer !== null)
            void catalog.batch(() => catalog.producers.put(stream.pending.identity.id, producer.id, producer, stream.pending.lsn));`,
  },
  {
    name: "producer-behind-its-data",
    breaks: "invariant 3: the catalog has an append some time before it has its producer's state",
    file: "server/dist/engine/catalog-sync.js",
    find: `for (const [producer, known] of stream.dirtyProducers)
            catalog.producers.put(id, producer, known, state.lsn);`,
    replace: `const late = stream.dirtyProducers;
        const put = () => {
            for (const [producer, known] of late)
                catalog.producers.put(id, producer, known, state.lsn);
        };
        setTimeout(() => void catalog.batch(put).catch(() => undefined), 1_000);`,
  },
  {
    name: "forget-pending-producers",
    breaks: "producers leave memory when the catalog has them: here before that",
    file: "server/dist/engine/catalog-sync.js",
    find: "if (stream.lastBatch === null && stream.dirtyProducers === null)",
    replace: "",
  },
  {
    name: "applied-before-its-streams",
    breaks: "invariant 3: the catalog names an LSN before it has what the frames up to it say",
    file: "server/dist/engine/catalog-sync.js",
    find: "const applied = this.#ports.durableLsn();",
    replace: `const applied = this.#ports.durableLsn();
        await this.#ports.catalog.batch(() => this.#ports.catalog.setMeta("appliedLsn", applied));`,
  },
  {
    name: "rest-unsaved",
    breaks: "a stream leaves memory when the catalog has it: here before that",
    file: "server/dist/engine/residents.js",
    find: " || this.#unsaved(stream))",
    replace: ")",
  },
  {
    name: "collect-a-shared-object",
    breaks: "an object stays while any extent of it lives: here until the first one dies",
    file: "server/dist/engine/reaper.js",
    find: "Math.max(0, count.liveExtents - dead)",
    replace: "0",
  },
  {
    name: "rolled-before-its-extents",
    breaks: "invariant 6: the catalog says that a segment is rolled before it knows where its bytes are",
    file: "server/dist/engine/publisher.js",
    find: "const live = record.objects.map(() => 0);",
    replace:
      'const live = record.objects.map(() => 0);\n    await catalog.batch(() => catalog.setMeta("rolledLsn", record.end));',
  },
];
