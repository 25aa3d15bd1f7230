/** A planted bug: a change of one file of the built server, made in memory when a worker loads it. */
export interface Patch {
  /** Kebab-case. */
  readonly name: string;
  /** What the change breaks. */
  readonly breaks: string;
  /** Below packages/: `server/dist/wal/group-commit.js`. */
  readonly file: string;
  /** Must be there exactly once. */
  readonly find: string;
  readonly replace: string;
}

/** @throws Error when the text to replace is not there exactly once */
export function applyPatch({ name, file, find, replace }: Patch, text: string): string {
  const pieces = text.split(find);
  if (pieces.length !== 2) {
    throw new Error(`planted bug "${name}": ${file} has ${pieces.length - 1} places that read ${JSON.stringify(find)}`);
  }
  return pieces.join(replace);
}
