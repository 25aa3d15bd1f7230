/** The longest prefix of some bytes that anyone read. */
import { excerpt } from "./messages.ts";

export class SeenBytes {
  #buffer: Buffer = Buffer.alloc(4096);
  #length = 0;

  get bytes(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Takes what was read at `from`; returns what is wrong with it. */
  observe(from: number, bytes: Buffer): string | undefined {
    if (from > this.#length) return `starts at ${from}, of which only ${this.#length} were ever offered`;
    const known = Math.min(bytes.length, this.#length - from);
    if (!this.#buffer.subarray(from, from + known).equals(bytes.subarray(0, known))) {
      return `other bytes at ${from} than before: ${excerpt(bytes, 0)}, before ${excerpt(this.bytes, from)}`;
    }
    const end = from + bytes.length;
    if (end <= this.#length) return undefined;
    if (end > this.#buffer.length) {
      const larger = Buffer.alloc(Math.max(end, this.#buffer.length * 2));
      this.bytes.copy(larger);
      this.#buffer = larger;
    }
    bytes.copy(this.#buffer, this.#length, known);
    this.#length = end;
    return undefined;
  }
}
