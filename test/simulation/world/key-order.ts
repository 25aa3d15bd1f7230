/** The order of the catalog's keys: numbers by value, strings by their UTF-8 bytes, pairs part by part. */
export type Key = number | string | readonly (number | string)[];

export function compareKeys(one: Key, other: Key): number {
  if (typeof one === "number" && typeof other === "number") return one - other;
  if (typeof one === "string" && typeof other === "string") return Buffer.compare(Buffer.from(one), Buffer.from(other));
  if (Array.isArray(one) && Array.isArray(other)) {
    for (const [i, part] of one.entries()) {
      const order = i < other.length ? compareKeys(part as Key, other[i] as Key) : 1;
      if (order !== 0) return order;
    }
    return one.length - other.length;
  }
  throw new Error(`keys of two shapes: ${JSON.stringify(one)} and ${JSON.stringify(other)}`);
}

/** Index of the first of `keys` that is not before `key`. */
export function lowerBound(keys: readonly Key[], key: Key): number {
  let [low, high] = [0, keys.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareKeys(keys[middle]!, key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
