/** Branded numbers and strings: a position never passes for a generation by accident. */

declare const brand: unique symbol;
type Branded<Base, Name extends string> = Base & { readonly [brand]: Name };

/** Count of stored bytes before a point of a stream; 0 … 2^53-1. */
export type Position = Branded<number, "Position">;

/** Server-wide increasing number that names a stream's right to mint positions; 1 … 2^53-1. Its first one is a stream's identity. */
export type Generation = Branded<number, "Generation">;

/** Log sequence number: a byte position in the shard's WAL, counted over all its segments; 0 … 2^53-1. */
export type Lsn = Branded<number, "Lsn">;

/** The token that clients see: `<generation>_<position>`, 16 decimal digits each (protocol section 8). */
export type Offset = Branded<string, "Offset">;

function checkCount(value: number, what: string): void {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${what} out of range: ${value}`);
}

/** @throws RangeError when `value` is not an integer of 0 … 2^53-1. */
export function position(value: number): Position {
  checkCount(value, "position");
  return value as Position;
}

/** @throws RangeError when `value` is not an integer of 0 … 2^53-1. */
export function generation(value: number): Generation {
  checkCount(value, "generation");
  return value as Generation;
}

/** @throws RangeError when `value` is not an integer of 0 … 2^53-1. */
export function lsn(value: number): Lsn {
  checkCount(value, "lsn");
  return value as Lsn;
}
