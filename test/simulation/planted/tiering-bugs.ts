/** Bugs of the tiers: rolls, objects, and what readers are given of them. */
import type { Patch } from "./patch.ts";

export const TIERING_BUGS: readonly Patch[] = [
  {
    name: "release-before-publish",
    breaks: "invariant 6: a WAL segment goes before the catalog knows where its bytes are",
    file: "tiering/dist/roller.js",
    find: "await publish(record);",
    replace: "await release(segment); await publish(record); return;",
  },
  {
    name: "release-unflushed",
    breaks: "invariant 6: a segment goes when its roll is committed to the catalog, and not yet flushed",
    file: "server/dist/shard.js",
    find: "await catalog.flushed();\n        catalog.recordSize();",
    replace: "catalog.recordSize();",
  },
  {
    name: "roll-without-its-last-batch",
    breaks: "invariant 6: a segment goes and its last batch is in no object",
    file: "tiering/dist/segment-plan.js",
    find: "add(planner, reading.frames, base, at);",
    replace: "if (reading.end < bytes.length)\n            add(planner, reading.frames, base, at);",
  },
  {
    name: "payloads-in-reverse",
    breaks: "invariant 2: a roll joins a stream's frames in the wrong order",
    file: "core/dist/roll-plan.js",
    find: "sources.push(this.table[index], bytes);",
    replace: "sources.unshift(this.table[index], bytes);",
  },
  {
    name: "upload-not-verified",
    breaks: "invariant 6: a failed upload counts as done, and nobody looks",
    file: "tiering/dist/roller.js",
    find: 'const outcome = await this.#persist("upload", plan, () => store.create(object.key, object.bytes, object.body));',
    replace:
      "await store.create(object.key, object.bytes, object.body).catch(() => undefined);\n            return { bytes: object.bytes, footerCrc: object.footerCrc };",
  },
  {
    name: "ignore-a-412",
    breaks: "invariant 6: an object that is there already is taken for our own, and nobody looks",
    file: "tiering/dist/roller.js",
    find: 'fault("roll.verify");',
    replace:
      'if (outcome === "exists")\n                return { bytes: object.bytes, footerCrc: object.footerCrc };\n            fault("roll.verify");',
  },
  {
    name: "range-not-verified",
    breaks: "what is yielded has passed its checksum: here not",
    file: "tiering/dist/cold-ranges.js",
    find: "decodeBlock(bytes.subarray(at, end), block, crc);",
    replace: "void crc;",
  },
  {
    name: "chunk-of-another-generation",
    breaks: "invariant 4: a chunk that is kept in memory is known by its path and its start alone",
    file: "server/dist/engine/stream-reader.js",
    find: "const key = `${to <= first.to ? first.stream : identity.id}:${from}:${to}`;",
    replace: "void first;\n        const key = `${identity.path}:${from}`;",
  },
];
