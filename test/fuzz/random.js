// @ts-check
/** Random choices that one seed repeats exactly. */

export class Random {
  #state;

  /** @param {number} seed a whole number; its lowest 32 bits count */
  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** A number of [0, 1). */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  }

  /** A whole number of [0, below). @param {number} below */
  below(below) {
    return Math.floor(this.next() * below);
  }

  /** @param {number} probability */
  chance(probability) {
    return this.next() < probability;
  }

  /**
   * @template Item
   * @param {readonly Item[]} items at least one
   * @returns {Item}
   */
  pick(items) {
    return /** @type {Item} */ (items[this.below(items.length)]);
  }

  /**
   * One key of `weights`, as often as its weight says.
   * @template {string} Key
   * @param {Readonly<Record<Key, number>>} weights
   * @returns {Key}
   */
  weighted(weights) {
    const entries = /** @type {[Key, number][]} */ (Object.entries(weights));
    let left = this.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [key, weight] of entries) {
      left -= weight;
      if (left < 0) return key;
    }
    return /** @type {[Key, number]} */ (entries.at(-1))[0];
  }

  /** Another generator, whose choices do not depend on how many this one makes later. */
  fork() {
    return new Random(this.below(0x1_0000_0000));
  }
}
