/**
 * Splits JSON text into the elements of its outermost arrays without parsing them: each keeps its digits, escapes and
 * key order, and loses the white space around its tokens. Memory is bounded by one element.
 */

/** Text that cannot be JSON; the message says why. */
export class JsonTextError extends Error {
  override readonly name = "JsonTextError";
}

const ELEMENT_BYTES_MAX = 256 * 1024 * 1024;
const FIRST_CAPACITY = 1024;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_ARRAY = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;

export class JsonElements {
  /** Outermost values that have begun. */
  values = 0;
  /** Inside of an outermost array, of another outermost value, or of none. */
  #within: "array" | "value" | "none" = "none";
  /** Brackets open inside of the element. */
  #depth = 0;
  #inString = false;
  #escaped = false;
  /** White space was left out before the next byte. */
  #gap = false;
  #afterComma = false;
  #text: Buffer = Buffer.allocUnsafe(FIRST_CAPACITY);
  #length = 0;

  /** The elements that end in these bytes. @throws JsonTextError */
  push(bytes: Uint8Array): Uint8Array[] {
    const done: Uint8Array[] = [];
    for (const byte of bytes) {
      if (this.#inString) this.#stringByte(byte);
      else if (byte === 0x20 || (byte >= 0x09 && byte <= 0x0d)) this.#gap = true;
      else this.#token(byte, done);
    }
    return done;
  }

  /** What ends with the text. @throws JsonTextError when something is still open */
  end(): Uint8Array[] {
    if (this.#within === "array" || this.#inString || this.#depth > 0)
      throw new JsonTextError("the text ends too early");
    return this.#within === "value" ? [this.#take()] : [];
  }

  #stringByte(byte: number): void {
    this.#append(byte);
    if (this.#escaped) this.#escaped = false;
    else if (byte === BACKSLASH) this.#escaped = true;
    else if (byte === QUOTE) this.#inString = false;
  }

  #token(byte: number, done: Uint8Array[]): void {
    if (this.#within === "value" && this.#depth === 0 && this.#gap) done.push(this.#take());
    if (this.#within === "none") {
      this.values += 1;
      this.#gap = false;
      this.#within = byte === OPEN_ARRAY ? "array" : "value";
      this.#afterComma = false;
      if (byte === OPEN_ARRAY) return;
    }
    if (this.#within === "array" && this.#depth === 0 && (byte === COMMA || byte === CLOSE_ARRAY)) {
      this.#boundary(byte, done);
      return;
    }
    this.#elementByte(byte);
    const isWholeObject = this.#within === "value" && this.#depth === 0 && byte === CLOSE_OBJECT;
    if (isWholeObject) done.push(this.#take());
  }

  /** The end of an element of the outermost array, or of the array. */
  #boundary(byte: number, done: Uint8Array[]): void {
    if (this.#length > 0) done.push(this.#element());
    else if (byte === COMMA || this.#afterComma) throw new JsonTextError("an element is missing between commas");
    this.#afterComma = byte === COMMA;
    this.#gap = false;
    if (byte === CLOSE_ARRAY) this.#within = "none";
  }

  #elementByte(byte: number): void {
    if (this.#gap && this.#length > 0 && !isStructural(byte) && !isStructural(this.#text[this.#length - 1]!)) {
      // Two values in a row: kept apart, so that whoever parses it sees the mistake.
      this.#append(0x20);
    }
    this.#gap = false;
    this.#append(byte);
    if (byte === QUOTE) this.#inString = true;
    else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) this.#depth += 1;
    else if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) this.#depth -= 1;
    if (this.#depth < 0) throw new JsonTextError("a bracket closes that was not opened");
  }

  #append(byte: number): void {
    if (this.#length === this.#text.length) {
      if (this.#length >= ELEMENT_BYTES_MAX)
        throw new JsonTextError(`one element has more than ${ELEMENT_BYTES_MAX} bytes`);
      const wider = Buffer.allocUnsafe(this.#length * 2);
      this.#text.copy(wider);
      this.#text = wider;
    }
    this.#text[this.#length] = byte;
    this.#length += 1;
  }

  #element(): Uint8Array {
    const element = Uint8Array.prototype.slice.call(this.#text, 0, this.#length);
    this.#length = 0;
    return element;
  }

  #take(): Uint8Array {
    this.#within = "none";
    return this.#element();
  }
}

function isStructural(byte: number): boolean {
  return (
    byte === COMMA ||
    byte === COLON ||
    byte === OPEN_ARRAY ||
    byte === CLOSE_ARRAY ||
    byte === OPEN_OBJECT ||
    byte === CLOSE_OBJECT
  );
}

/** The same value without outer white space. @throws JsonTextError with the parser's reason */
export function checkJson(bytes: Uint8Array): string {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes).trim();
    JSON.parse(text);
  } catch (error) {
    throw new JsonTextError(error instanceof SyntaxError ? error.message : "the text is not valid UTF-8");
  }
  return text;
}
