/** In the place of the S3 adapter: the same port, with the world's bucket behind it, saying what that adapter says of faults. */
import { ObjectStoreError } from "@coldbrook/core";
import type { ObjectStore } from "@coldbrook/core";
import { theWorld } from "../world/current.ts";
import { bucketOf, StoreRefusal } from "../world/object-store.ts";
import type { Bucket } from "../world/object-store.ts";

async function said<T>(asked: Promise<T>): Promise<T> {
  try {
    return await asked;
  } catch (error) {
    if (!(error instanceof StoreRefusal)) throw error;
    throw new ObjectStoreError(error.kind, error.message);
  }
}

export class S3ObjectStore implements ObjectStore {
  readonly name = "s3://simulated";
  readonly #bucket: Bucket = bucketOf(theWorld());
  #closed = false;

  async create(key: string, bytes: number, body: () => AsyncIterable<Uint8Array>): Promise<"created" | "exists"> {
    this.#check();
    const whole = new Uint8Array(bytes);
    let at = 0;
    for await (const piece of body()) {
      if (at + piece.length > bytes) throw new Error(`${key}: its body is longer than ${bytes} bytes`);
      whole.set(piece, at);
      at += piece.length;
    }
    if (at !== bytes) throw new Error(`${key}: its body has ${at} bytes, not ${bytes}`);
    return said(this.#bucket.create(key, whole));
  }

  async read(key: string, from: number, to: number): Promise<Uint8Array> {
    this.#check();
    return from === to ? new Uint8Array(0) : said(this.#bucket.read(key, from, to));
  }

  async size(key: string): Promise<number | undefined> {
    this.#check();
    return said(this.#bucket.size(key));
  }

  async remove(key: string): Promise<void> {
    this.#check();
    await said(this.#bucket.remove(key));
  }

  async *list(prefix: string): AsyncGenerator<string> {
    this.#check();
    yield* await said(this.#bucket.list(prefix));
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  #check(): void {
    if (this.#closed) throw new ObjectStoreError("unavailable", `${this.name}: the store was closed`);
  }
}
