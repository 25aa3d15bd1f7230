/** A smaller list that still fails: delta debugging (Zeller's ddmin), with a bound on how often the test is run. */

export interface Shrunk<T> {
  readonly items: readonly T[];
  readonly runs: number;
  /** No single item can be left out. False when the budget ended first. */
  readonly isMinimal: boolean;
}

/**
 * `fails` runs a part of the list, always in its order, and says whether it fails as the whole did; it must be deterministic.
 * Nothing is run twice. The whole list is taken to fail and is not run.
 */
export async function shrink<T>(
  whole: readonly T[],
  fails: (items: readonly T[]) => boolean | Promise<boolean>,
  runsMax: number,
): Promise<Shrunk<T>> {
  let kept = whole.map((_, index) => index);
  let parts = 2;
  let runs = 0;
  const tried = new Set<string>();
  const stillFails = async (indexes: readonly number[]): Promise<boolean> => {
    const key = indexes.join();
    if (tried.has(key) || runs >= runsMax) return false;
    tried.add(key);
    runs += 1;
    return await fails(indexes.map((index) => whole[index]!));
  };
  while (kept.length > 0 && runs < runsMax) {
    const slices = split(kept, Math.min(parts, kept.length));
    const smaller = await firstThat(candidates(kept, slices), stillFails);
    if (smaller !== null) {
      parts = smaller.isSlice ? 2 : Math.max(2, parts - 1);
      kept = smaller.indexes;
    } else if (parts >= kept.length) break;
    else parts *= 2;
  }
  const isMinimal = runs < runsMax || kept.length === 0;
  return { items: kept.map((index) => whole[index]!), runs, isMinimal };
}

interface Candidate {
  readonly indexes: number[];
  readonly isSlice: boolean;
}

/** Each slice alone, then all but each. */
function* candidates(kept: readonly number[], slices: readonly number[][]): Generator<Candidate> {
  if (slices.length === 1) {
    yield { indexes: [], isSlice: true };
    return;
  }
  for (const indexes of slices) yield { indexes, isSlice: true };
  if (slices.length === 2) return;
  for (const slice of slices) {
    const left = new Set(slice);
    yield { indexes: kept.filter((index) => !left.has(index)), isSlice: false };
  }
}

async function firstThat(
  all: Iterable<Candidate>,
  fails: (indexes: readonly number[]) => Promise<boolean>,
): Promise<Candidate | null> {
  // One after the other: the first that fails is taken, and the later ones are never run.
  for (const candidate of all) if (await fails(candidate.indexes)) return candidate;
  return null;
}

function split(indexes: readonly number[], parts: number): number[][] {
  const slices: number[][] = [];
  for (let part = 0; part < parts; part++) {
    slices.push(
      indexes.slice(Math.floor((part * indexes.length) / parts), Math.floor(((part + 1) * indexes.length) / parts)),
    );
  }
  return slices;
}
