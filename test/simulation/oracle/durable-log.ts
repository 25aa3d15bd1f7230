/**
 * Looks at the disk behind the server's back. What is acknowledged must be in a durable frame at that instant (invariant 1); a WAL
 * segment may go only when the catalog on disk says that it is rolled and every byte of it is in an object (invariant 6).
 */
import { crc32 } from "node:zlib";
import type { Outcome, Request } from "../../model/history.ts";
import { parseToken } from "../../model/history.ts";
import type { Product } from "../product.ts";
import { DATA_DIR } from "../server.ts";
import { bucketOf } from "../world/object-store.ts";
import { CatalogFile } from "../world/catalog-file.ts";
import type { DirectoryNode, DiskNode, FileNode } from "../world/disk.ts";
import type { DiskWitness, World } from "../world/world.ts";

/** What durable frames say of a stream. */
interface Facts {
  tail: number;
  closed: boolean;
  deleted: boolean;
}

const SEGMENT = /\/wal\/(\d{16})\.wal$/;

export class DurableLog implements DiskWitness {
  readonly #world: World;
  readonly #core: Product["core"];
  readonly #isDamaged: () => boolean;
  readonly #streams = new Map<number, Facts>();
  readonly #deletedPaths = new Set<string>();
  readonly #paths = new Map<number, string>();
  /** Where the durable batches of a segment's file end, as far as they were read. */
  readonly #read = new Map<FileNode, number>();

  /** `isDamaged`: a bit of an object is flipped at the moment. */
  constructor(world: World, core: Product["core"], isDamaged: () => boolean) {
    this.#isDamaged = isDamaged;
    this.#world = world;
    this.#core = core;
  }

  synced(path: string): void {
    if (!SEGMENT.test(path)) return;
    const node = durablyAt(this.#world.disk.root, path);
    if (node?.kind === "file") this.#readOn(node);
  }

  unlinking(path: string): void {
    const base = SEGMENT.exec(path)?.[1];
    const node = this.#world.disk.find(path);
    if (base === undefined || node?.kind !== "file") return;
    // The disk was full when it was begun (seed 963): no frame was ever in it.
    if (node.data.length <= this.#core.SEGMENT_HEADER_BYTES) return;
    this.#world.counts.rolls += 1;
    const rolled = this.#rolledLsn();
    const end = Number(base) + node.data.length;
    if (rolled < end)
      this.#violation(`${path} is removed, but the catalog on disk has rolled no further than LSN ${rolled} of ${end}`);
    if (this.#isDamaged()) return;
    const objects = this.#objects();
    for (const message of this.#messages(node.data)) {
      if (objects.some((object) => object.includes(message))) continue;
      this.#violation(`${path} is removed, but no object holds its message ${message.subarray(0, 40).toString()}`);
      return;
    }
  }

  /** A client is told `outcome`. */
  acknowledged(path: string, request: Request, outcome: Outcome): void {
    const tail = "shown" in outcome && outcome.shown.tail !== null ? parseToken(outcome.shown.tail) : null;
    const about = `${request.kind} of ${path} was answered "${outcome.kind}"`;
    if (tail !== null && tail.position > 0) {
      const known = this.#streams.get(tail.generation);
      if (known === undefined || known.tail < tail.position)
        this.#violation(`${about} with tail ${tail.position}, durable is ${known?.tail ?? "nothing"}`);
    }
    if (outcome.kind === "data" && outcome.bytes.length > 0) {
      const next = parseToken(outcome.next)!;
      const known = this.#streams.get(next.generation);
      if (known === undefined || known.tail < next.position)
        this.#violation(`${about} up to ${next.position}, durable is ${known?.tail ?? "nothing"}`);
    }
    if (outcome.kind === "appended" && request.kind === "append" && request.close && tail !== null) {
      const isClosed = [...this.#paths].some(([id, each]) => each === path && this.#streams.get(id)?.closed === true);
      if (!isClosed) this.#violation(`${about}, but no durable frame closes it`);
    }
    if (outcome.kind === "deleted" && !this.#deletedPaths.has(path))
      this.#violation(`${about}, but no durable frame deletes it`);
  }

  #readOn(node: FileNode): void {
    const { SEGMENT_HEADER_BYTES, readBatch } = this.#core;
    let at = this.#read.get(node) ?? SEGMENT_HEADER_BYTES;
    // A segment may be begun anew over one that held nothing whole.
    if (at > node.durable.length) at = SEGMENT_HEADER_BYTES;
    while (at < node.durable.length) {
      const batch = readBatch(node.durable, at, crc32);
      if (batch.kind !== "batch") break;
      for (const { header } of batch.frames) if (header.kind !== "subscription") this.#learn(header);
      at = batch.end;
    }
    this.#read.set(node, at);
  }

  #learn(header: Exclude<ReturnType<Product["core"]["decodeFrameHeader"]>, { kind: "subscription" }>): void {
    let facts = this.#streams.get(header.stream);
    if (facts === undefined) {
      facts = { tail: 0, closed: false, deleted: false };
      this.#streams.set(header.stream, facts);
    }
    if (header.kind === "create") this.#paths.set(header.stream, header.path);
    if (header.kind === "create" || header.kind === "append") {
      facts.tail = Math.max(facts.tail, header.start + header.payloadBytes);
      facts.closed ||= header.closed;
    }
    if (header.kind === "delete" || header.kind === "soft-delete") {
      facts.deleted = true;
      this.#deletedPaths.add(this.#paths.get(header.stream) ?? "");
    }
  }

  /** Of streams that are not deleted, each message of a segment. */
  *#messages(bytes: Buffer): Generator<Buffer> {
    let at = this.#core.SEGMENT_HEADER_BYTES;
    for (;;) {
      const batch = this.#core.readBatch(bytes, at, crc32);
      if (batch.kind !== "batch") return;
      for (const { header, payloadAt } of batch.frames) {
        if (header.kind !== "create" && header.kind !== "append") continue;
        if (this.#streams.get(header.stream)?.deleted === true) continue;
        let from = payloadAt;
        for (const length of header.lengths) {
          yield bytes.subarray(from, from + length);
          from += length;
        }
      }
      at = batch.end;
    }
  }

  #rolledLsn(): number {
    const node = this.#world.disk.find(`${DATA_DIR}/catalog/data.mdb`);
    const attached = node?.kind === "file" ? node.attachment : null;
    if (!(attached instanceof CatalogFile)) return 0;
    const bytes = attached.durable.table("meta").get("rolledLsn");
    return bytes === undefined ? 0 : this.#core.decodeMeta("rolledLsn", bytes, crc32);
  }

  #objects(): Buffer[] {
    const objects = [...bucketOf(this.#world).objects.values()].map((bytes) => Buffer.from(bytes.buffer));
    const root = this.#world.disk.find(`${DATA_DIR}/objects/objects`);
    if (root?.kind === "directory") for (const node of filesOf(root)) objects.push(node.durable);
    return objects;
  }

  #violation(what: string): void {
    this.#world.violations.push(what);
  }
}

/** The node that a path leads to after the worst power loss. */
function durablyAt(root: DirectoryNode, path: string): DiskNode | undefined {
  let node: DiskNode | undefined = root;
  for (const name of path.split("/").slice(1)) node = node?.kind === "directory" ? node.durable.get(name) : undefined;
  return node;
}

function* filesOf(directory: DirectoryNode): Generator<FileNode> {
  for (const node of directory.durable.values()) {
    if (node.kind === "file") yield node;
    else yield* filesOf(node);
  }
}
