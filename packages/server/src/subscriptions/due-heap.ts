/** Due times of any number of items in one binary heap: the soonest is found at once, a change costs its depth. */

/** What may lie in the heap. Both fields are the heap's own. */
export interface Due {
  /** -1 when it is not there. */
  heapIndex: number;
  /** Milliseconds since 1970. */
  dueAtMs: number;
}

export class DueHeap<Item extends Due> {
  readonly #items: Item[] = [];

  get size(): number {
    return this.#items.length;
  }

  /** When the soonest is due; Infinity when there is none. */
  get nextMs(): number {
    return this.#items[0]?.dueAtMs ?? Infinity;
  }

  /** Adds the item or moves it. */
  set(item: Item, dueAtMs: number): void {
    item.dueAtMs = dueAtMs;
    if (item.heapIndex < 0) {
      item.heapIndex = this.#items.length;
      this.#items.push(item);
    }
    this.#down(this.#up(item));
  }

  /** Nothing happens when it is not there. */
  remove(item: Item): void {
    const { heapIndex: index } = item;
    if (index < 0) return;
    item.heapIndex = -1;
    const last = this.#items.pop()!;
    if (last === item) return;
    this.#place(last, index);
    this.#down(this.#up(last));
  }

  /** Takes the soonest if it is due. */
  take(nowMs: number): Item | undefined {
    const first = this.#items[0];
    if (first === undefined || first.dueAtMs > nowMs) return undefined;
    this.remove(first);
    return first;
  }

  #place(item: Item, index: number): void {
    this.#items[index] = item;
    item.heapIndex = index;
  }

  #up(item: Item): Item {
    let index = item.heapIndex;
    while (index > 0) {
      const parent = (index - 1) >>> 1;
      const above = this.#items[parent]!;
      if (above.dueAtMs <= item.dueAtMs) break;
      this.#place(above, index);
      index = parent;
    }
    this.#place(item, index);
    return item;
  }

  #down(item: Item): void {
    let index = item.heapIndex;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= this.#items.length) break;
      if (child + 1 < this.#items.length && this.#items[child + 1]!.dueAtMs < this.#items[child]!.dueAtMs) child += 1;
      const below = this.#items[child]!;
      if (below.dueAtMs >= item.dueAtMs) break;
      this.#place(below, index);
      index = child;
    }
    this.#place(item, index);
  }
}
