import { ObjectStoreError, type ObjectStore } from "@coldbrook/core";
import { exactBody, type ObjectBody } from "./body.ts";
import { checkKey, checkListPrefix, checkRange } from "./key.ts";

/** Objects that live as long as this value: for tests and for trying things out. Never shares its bytes with a caller. */
export class MemoryObjectStore implements ObjectStore {
  readonly name: string = "memory:";
  readonly #objects: Map<string, Uint8Array> = new Map();

  /** Bytes of all objects. */
  get bytes(): number {
    let bytes = 0;
    for (const whole of this.#objects.values()) bytes += whole.byteLength;
    return bytes;
  }

  async create(key: string, bytes: number, body: ObjectBody): Promise<"created" | "exists"> {
    checkKey(this.name, key);
    if (this.#objects.has(key)) return "exists";
    const whole = new Uint8Array(bytes);
    let at = 0;
    for await (const chunk of exactBody(`${this.name}${key}`, bytes, body)) {
      whole.set(chunk, at);
      at += chunk.byteLength;
    }
    // Another call may have created it while the body was read.
    if (this.#objects.has(key)) return "exists";
    this.#objects.set(key, whole);
    return "created";
  }

  async read(key: string, from: number, to: number): Promise<Uint8Array> {
    return this.readNow(key, from, to);
  }

  /** What `read` resolves with. @throws ObjectStoreError */
  readNow(key: string, from: number, to: number): Uint8Array {
    checkKey(this.name, key);
    checkRange(this.name, key, from, to);
    if (from === to) return new Uint8Array(0);
    const whole = this.#objects.get(key);
    if (whole === undefined) throw new ObjectStoreError("missing", `${this.name}${key}: no such object`);
    if (to > whole.byteLength) {
      throw new ObjectStoreError(
        "short",
        `${this.name}${key}: holds ${whole.byteLength} bytes, asked for [${from}, ${to})`,
      );
    }
    return whole.slice(from, to);
  }

  async size(key: string): Promise<number | undefined> {
    checkKey(this.name, key);
    return this.#objects.get(key)?.byteLength;
  }

  async remove(key: string): Promise<void> {
    checkKey(this.name, key);
    this.#objects.delete(key);
  }

  async *list(prefix: string): AsyncGenerator<string> {
    checkListPrefix(this.name, prefix);
    yield* [...this.#objects.keys()].filter((key) => key.startsWith(prefix)).sort();
  }

  async close(): Promise<void> {}
}
