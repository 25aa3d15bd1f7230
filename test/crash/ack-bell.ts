/**
 * Rings in the very turn in which an acknowledgement arrives: who kills the server at that moment kills it while whatever was
 * acknowledged too early is not written yet.
 */
/** What kills come with, by weight: what happens seldom would else never be met. */
export const ACK_WEIGHTS = {
  append: 1,
  close: 2,
  create: 1,
  delete: 2,
  "subscription create": 1,
  "subscription delete": 3,
  link: 1,
  claim: 1,
  "subscription ack": 1,
} as const;
export type AckKind = keyof typeof ACK_WEIGHTS;

export class AckBell {
  #kind: AckKind | null = null;
  #heard: () => void = () => undefined;

  /** The kind that is waited for, or null. */
  get awaited(): AckKind | null {
    return this.#kind;
  }

  /** Calls `heard` at the next acknowledgement of that kind, and at no other. */
  await(kind: AckKind, heard: () => void): void {
    this.#kind = kind;
    this.#heard = heard;
  }

  ring(kind: AckKind): void {
    if (kind !== this.#kind) return;
    this.#kind = null;
    this.#heard();
  }

  /** Nobody waits any more. */
  silence(): void {
    this.#kind = null;
  }
}
