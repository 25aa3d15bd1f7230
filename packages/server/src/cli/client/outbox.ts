/**
 * Content on its way from a reader to requests: what arrives while one request is under way goes with the next, in
 * bounded pieces. A producer's pieces depend on the content alone, so that a repeated command sends the same ones.
 */

export interface Piece {
  readonly bytes: Uint8Array;
  /** Messages in it; 1 for bytes. */
  readonly messages: number;
  /** The content ends with it. */
  readonly isLast: boolean;
}

export interface OutboxOptions {
  readonly pieceBytes: number;
  /** `bytes`: cut anywhere. `text`: between UTF-8 characters. `json`: between elements, joined by commas. */
  readonly unit: "bytes" | "text" | "json";
  /** Pieces are as long as possible, whenever the content arrives. */
  readonly exact: boolean;
}

/** Pieces that may wait beside the one under way. */
const PIECES_WAITING_MAX = 2;

export class Outbox {
  readonly #options: OutboxOptions;
  #parts: Uint8Array[] = [];
  #bytes = 0;
  #ended = false;
  #error: Error | undefined;
  #changed: () => void = () => undefined;
  #change: Promise<void>;

  constructor(options: OutboxOptions) {
    this.#options = options;
    this.#change = new Promise((resolve) => (this.#changed = resolve));
  }

  /** Resolves when there is room for more. */
  async push(part: Uint8Array): Promise<void> {
    if (part.length === 0) return;
    this.#parts.push(part);
    this.#bytes += part.length;
    this.#signal();
    while (this.#bytes > PIECES_WAITING_MAX * this.#options.pieceBytes && this.#error === undefined) await this.#change;
  }

  end(): void {
    this.#ended = true;
    this.#signal();
  }

  /** Makes the next `take` throw, and lets a waiting `push` go. */
  fail(error: Error): void {
    this.#error ??= error;
    this.#signal();
  }

  /** The next piece, or undefined after the last byte. */
  async take(): Promise<Piece | undefined> {
    for (;;) {
      if (this.#error !== undefined) throw this.#error;
      const piece = this.#cut();
      if (piece !== undefined) {
        this.#signal();
        return piece;
      }
      if (this.#ended) return undefined;
      await this.#change;
    }
  }

  #signal(): void {
    this.#changed();
    this.#change = new Promise((resolve) => (this.#changed = resolve));
  }

  #cut(): Piece | undefined {
    if (this.#bytes === 0) return undefined;
    // More than a whole piece tells that the piece is not the last.
    if (this.#options.exact && !this.#ended && this.#bytes <= this.#options.pieceBytes) return undefined;
    return this.#options.unit === "json" ? this.#cutElements() : this.#cutBytes();
  }

  #cutElements(): Piece {
    let count = 0;
    let bytes = 0;
    for (const part of this.#parts) {
      if (count > 0 && bytes + part.length > this.#options.pieceBytes) break;
      bytes += part.length;
      count += 1;
    }
    const comma = Buffer.from(",");
    const elements = this.#parts.splice(0, count);
    this.#bytes -= bytes;
    const joined = elements.flatMap((element, index) => (index === 0 ? [element] : [comma, element]));
    return { bytes: Buffer.concat(joined), messages: count, isLast: this.#ended && this.#bytes === 0 };
  }

  #cutBytes(): Piece | undefined {
    const all = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts);
    const isAll = this.#ended && all.length <= this.#options.pieceBytes;
    let end = Math.min(all.length, this.#options.pieceBytes);
    if (this.#options.unit === "text" && !isAll) end = characterBoundary(all, end);
    if (end === 0) return undefined;
    this.#parts = end === all.length ? [] : [all.subarray(end)];
    this.#bytes = all.length - end;
    return { bytes: all.subarray(0, end), messages: 1, isLast: this.#ended && this.#bytes === 0 };
  }
}

/** The largest boundary at or before `end` that splits no UTF-8 character; `end` itself where the text is not UTF-8. */
export function characterBoundary(bytes: Uint8Array, end: number): number {
  for (let back = 1; back <= 4 && back <= end; back += 1) {
    const byte = bytes[end - back]!;
    if (byte < 0x80) return end;
    if (byte < 0xc0) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return length > back ? end - back : end;
  }
  return end;
}
