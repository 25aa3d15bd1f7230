/** Little-endian reading and writing of the persisted formats. Every decoder here fails with a DecodeError, never with garbage. */

const BYTES_MIN = 64;
const NOTHING: Uint8Array = new Uint8Array(0);
const NO_VIEW: DataView = new DataView(new ArrayBuffer(0));
const U32 = 0x1_0000_0000;
/** Shorter strings than this are built character by character; that is quicker than a decoder call. */
const SHORT_STRING_BYTES = 48;

const textEncoder = new TextEncoder();
const textDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Persisted bytes that are not what their format says. `at` is the byte position in the decoded buffer. */
export class DecodeError extends Error {
  override readonly name = "DecodeError";
  readonly at: number;

  constructor(message: string, at: number) {
    super(`${message} at byte ${at}`);
    this.at = at;
  }
}

/** Long work in small steps, so that whoever does it can let others run in between; see `runAtOnce`. */
export type CodecSteps<Value> = Generator<undefined, Value, undefined>;

/** All steps in one go. */
export function runAtOnce<Value>(steps: CodecSteps<Value>): Value {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** A checksum of this much takes well under a millisecond. */
const CRC_STEP_BYTES = 256 * 1024;

/** The checksum of `bytes`, step by step. */
export function* crcSteps(bytes: Uint8Array, crc: (bytes: Uint8Array, seed?: number) => number): CodecSteps<number> {
  let value = 0;
  for (let at = 0; at < bytes.length; at += CRC_STEP_BYTES) {
    value = crc(bytes.subarray(at, at + CRC_STEP_BYTES), value);
    yield;
  }
  return value;
}

function checkInteger(value: number, below: number, what: string): void {
  if (!Number.isSafeInteger(value) || value < 0 || value >= below) {
    throw new RangeError(`not a ${what}: ${value}`);
  }
}

/** Appends to one buffer that grows by doubling. Writers throw RangeError on a number that does not fit its field. */
export class ByteWriter {
  private buffer: Uint8Array;
  private view: DataView;
  private at = 0;

  /** `capacity` in bytes: a good guess saves copies, a bad one does no harm. */
  constructor(capacity: number = BYTES_MIN) {
    this.buffer = new Uint8Array(Math.max(capacity, BYTES_MIN));
    this.view = new DataView(this.buffer.buffer);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.at;
  }

  u8(value: number): void {
    checkInteger(value, 0x100, "u8");
    this.reserve(1);
    this.buffer[this.at++] = value;
  }

  u16(value: number): void {
    checkInteger(value, 0x1_0000, "u16");
    this.reserve(2);
    this.view.setUint16(this.at, value, true);
    this.at += 2;
  }

  u32(value: number): void {
    checkInteger(value, U32, "u32");
    this.reserve(4);
    this.view.setUint32(this.at, value, true);
    this.at += 4;
  }

  /** An integer of 0 … 2^53-1 in eight bytes. */
  u64(value: number): void {
    checkInteger(value, Number.MAX_SAFE_INTEGER + 1, "u64");
    this.reserve(8);
    this.view.setUint32(this.at, value % U32, true);
    this.view.setUint32(this.at + 4, Math.floor(value / U32), true);
    this.at += 8;
  }

  /** An integer of 0 … 2^53-1, seven bits a byte, low bits first, in the fewest bytes. */
  varint(value: number): void {
    checkInteger(value, Number.MAX_SAFE_INTEGER + 1, "varint");
    this.reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      this.buffer[this.at++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.buffer[this.at++] = rest;
  }

  /** UTF-8 with its byte length as a varint before it. @throws RangeError on a lone surrogate, which UTF-8 cannot carry. */
  string(text: string): void {
    const length = text.length;
    const start = this.at;
    this.varint(length);
    this.reserve(length);
    const buffer = this.buffer;
    let at = this.at;
    for (let index = 0; index < length; index++) {
      const code = text.charCodeAt(index);
      if (code > 0x7f) {
        this.at = start;
        this.wideString(text);
        return;
      }
      buffer[at++] = code;
    }
    this.at = at;
  }

  bytes(source: Uint8Array): void {
    this.reserve(source.length);
    this.buffer.set(source, this.at);
    this.at += source.length;
  }

  /** Fills in what is known only later. */
  patchU32(at: number, value: number): void {
    checkInteger(value, U32, "u32");
    checkInteger(at + 3, this.at, "written position");
    this.view.setUint32(at, value, true);
  }

  /** The written bytes of [from, to), without a copy: good until the next write. */
  written(from: number = 0, to: number = this.at): Uint8Array {
    checkInteger(to, this.at + 1, "written position");
    return this.buffer.subarray(from, to);
  }

  /** All that was written; the writer starts anew with a buffer of its own. */
  take(): Uint8Array {
    const taken = this.buffer.subarray(0, this.at);
    this.buffer = NOTHING;
    this.view = NO_VIEW;
    this.at = 0;
    return taken;
  }

  private wideString(text: string): void {
    const encoded = textEncoder.encode(text);
    if (textDecoder.decode(encoded) !== text) throw new RangeError("a string with a lone surrogate has no UTF-8 form");
    this.varint(encoded.length);
    this.bytes(encoded);
  }

  private reserve(count: number): void {
    const needed = this.at + count;
    if (needed <= this.buffer.length) return;
    const grown = new Uint8Array(Math.max(needed, this.buffer.length * 2, BYTES_MIN));
    grown.set(this.buffer.subarray(0, this.at));
    this.buffer = grown;
    this.view = new DataView(grown.buffer);
  }
}

/** Reads [at, end) of a buffer in order; every method throws DecodeError when the bytes do not hold what is asked for. */
export class ByteReader {
  private readonly buffer: Uint8Array;
  private readonly view: DataView;
  private readonly end: number;
  private cursor: number;

  constructor(buffer: Uint8Array, at: number = 0, end: number = buffer.length) {
    if (at < 0 || end > buffer.length || at > end) throw new DecodeError(`range ${at}-${end} is not in the bytes`, at);
    this.buffer = buffer;
    this.view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
    this.cursor = at;
    this.end = end;
  }

  /** Position of the next byte, counted from the buffer's start. */
  get at(): number {
    return this.cursor;
  }

  get remaining(): number {
    return this.end - this.cursor;
  }

  u8(): number {
    return this.view.getUint8(this.advance(1));
  }

  u16(): number {
    return this.view.getUint16(this.advance(2), true);
  }

  u32(): number {
    return this.view.getUint32(this.advance(4), true);
  }

  u64(): number {
    const at = this.advance(8);
    const high = this.view.getUint32(at + 4, true);
    if (high > 0x1f_ffff) throw new DecodeError("integer above 2^53-1", at);
    return high * U32 + this.view.getUint32(at, true);
  }

  varint(): number {
    const start = this.cursor;
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (value > Number.MAX_SAFE_INTEGER) throw new DecodeError("integer above 2^53-1", start);
      if (byte < 0x80) {
        if (byte === 0 && scale > 1) throw new DecodeError("integer in more bytes than it needs", start);
        return value;
      }
      scale *= 0x80;
      if (scale > Number.MAX_SAFE_INTEGER) throw new DecodeError("integer above 2^53-1", start);
    }
  }

  string(): string {
    const length = this.varint();
    const start = this.advance(length);
    if (length <= SHORT_STRING_BYTES) {
      let text = "";
      let at = start;
      for (; at < this.cursor; at++) {
        const byte = this.view.getUint8(at);
        if (byte > 0x7f) break;
        text += String.fromCharCode(byte);
      }
      if (at === this.cursor) return text;
    }
    try {
      return textDecoder.decode(this.buffer.subarray(start, this.cursor));
    } catch {
      throw new DecodeError("string is not UTF-8", start);
    }
  }

  /** The next `count` bytes, without a copy. */
  bytes(count: number): Uint8Array {
    const start = this.advance(count);
    return this.buffer.subarray(start, this.cursor);
  }

  /** @throws DecodeError when bytes are left. */
  finish(): void {
    if (this.cursor !== this.end) throw new DecodeError(`${this.remaining} bytes too many`, this.cursor);
  }

  private advance(count: number): number {
    const start = this.cursor;
    if (count > this.end - start) {
      throw new DecodeError(`bytes end where ${count} more should follow (${this.end - start} left)`, start);
    }
    this.cursor = start + count;
    return start;
  }
}

/** Message lengths (bytes, at least 1 each) as a pair count and (how many, length) pairs, all varints. */
export function encodeLengths(writer: ByteWriter, lengths: readonly number[]): void {
  let pairs = 0;
  for (let index = 0; index < lengths.length; index++) {
    if (lengths[index] === 0) throw new RangeError("a message of 0 bytes");
    if (index === 0 || lengths[index] !== lengths[index - 1]) pairs++;
  }
  writer.varint(pairs);
  let run = 0;
  for (let index = 0; index < lengths.length; index++) {
    run++;
    const length = lengths[index] as number;
    if (lengths[index + 1] === length) continue;
    writer.varint(run);
    writer.varint(length);
    run = 0;
  }
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes++;
  return bytes;
}

/** How many bytes encodeLengths writes. */
export function lengthsBytes(lengths: readonly number[]): number {
  let pairs = 0;
  let bytes = 0;
  for (let index = 0, run = 1; index < lengths.length; index++, run++) {
    const length = lengths[index] as number;
    if (lengths[index + 1] === length) continue;
    pairs++;
    bytes += varintBytes(run) + varintBytes(length);
    run = 0;
  }
  return varintBytes(pairs) + bytes;
}

/** Counterpart of encodeLengths. `bytes` is what the lengths must sum up to, which bounds their number. */
export function decodeLengths(reader: ByteReader, bytes: number): number[] {
  const start = reader.at;
  const lengths: number[] = [];
  let sum = 0;
  let last = 0;
  for (let pairs = reader.varint(); pairs > 0; pairs--) {
    const run = reader.varint();
    const length = reader.varint();
    sum += run * length;
    if (run === 0 || length === 0 || length === last || sum > bytes) {
      throw new DecodeError("message lengths that do not add up", start);
    }
    last = length;
    for (let count = 0; count < run; count++) lengths.push(length);
  }
  if (sum !== bytes) throw new DecodeError("message lengths that do not add up", start);
  return lengths;
}
