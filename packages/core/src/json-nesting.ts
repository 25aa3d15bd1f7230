/** Which arrays and objects are open, at one bit a level, because a body may be nothing but brackets. */
export class JsonNesting {
  /** How many are open. */
  depth = 0;
  /** Whether the innermost of them is an object. */
  inObject = false;
  /** The bits of the innermost 1 to 32 levels, innermost lowest; whole words of 32 levels around them, outermost first. */
  #bits = 0;
  readonly #outer: number[] = [];

  enter(isObject: boolean): void {
    if (this.depth > 0 && (this.depth & 31) === 0) this.#outer.push(this.#bits);
    this.#bits = (this.#bits << 1) | (isObject ? 1 : 0);
    this.depth += 1;
    this.inObject = isObject;
  }

  /** Closes the innermost; at least one is open. */
  leave(): void {
    this.depth -= 1;
    this.#bits >>>= 1;
    if (this.depth > 0 && (this.depth & 31) === 0) this.#bits = this.#outer.pop()!;
    this.inObject = this.depth > 0 && (this.#bits & 1) === 1;
  }
}
