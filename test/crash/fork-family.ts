/** A family of three streams in a row, from its first create to the cascade, one request after the other. */
import type { StreamClient } from "../process/http.ts";
import type { History, Slot } from "./history.ts";
import type { Incarnation, IncarnationConfig, Origin } from "./incarnation.ts";
import { CONTENT_TYPES, makePayload, type StreamKind } from "./messages.ts";
import type { SeededRandom } from "./random.ts";
import { recordWrite, sendCreate, sendDelete, sendWrite } from "./requests.ts";

/** Each is one request and one commit. */
export const FAMILY_STEPS = [
  "create",
  "append",
  "append again",
  "fork at the tail",
  "append to the fork",
  "fork the fork inside of a write",
  "append to the last fork",
  "soft-delete the source",
  "soft-delete the fork",
  "delete the last fork",
] as const;

export type FamilyStep = (typeof FAMILY_STEPS)[number];

/** One family in the making, in three empty slots. */
export class ForkFamily {
  readonly #history: History;
  readonly #slots: readonly [Slot, Slot, Slot];
  readonly #config: IncarnationConfig;
  readonly #random: SeededRandom;
  /** The step that is under way, or was when the connection was lost. */
  step: FamilyStep = "create";

  constructor(history: History, slots: readonly [Slot, Slot, Slot], kind: StreamKind, random: SeededRandom) {
    this.#history = history;
    this.#slots = slots;
    this.#random = random;
    this.#config = { kind, contentType: CONTENT_TYPES[kind], ttlSeconds: null, expiresAt: null, fleeting: false };
  }

  /** Does every step up to and with `last`. @throws ConnectionLost, Violation */
  async play(client: StreamClient, last: FamilyStep): Promise<void> {
    for (const step of FAMILY_STEPS) {
      this.step = step;
      await this.#perform(client, step);
      if (step === last) return;
    }
  }

  async #perform(client: StreamClient, step: FamilyStep): Promise<void> {
    const [root, child, leaf] = this.#slots;
    switch (step) {
      case "create":
        return this.#create(client, root, null);
      case "append":
      case "append again":
        return this.#append(client, root);
      case "fork at the tail":
        return this.#create(client, child, this.#origin(lifeIn(root), null));
      case "append to the fork":
        return this.#append(client, child);
      case "fork the fork inside of a write": {
        // Inside of the source's second write: behind the first of its two messages, or a few bytes in.
        const [anchor = 0] = lifeIn(root).acked;
        return this.#create(client, leaf, this.#origin(lifeIn(child), anchor));
      }
      case "append to the last fork":
        return this.#append(client, leaf);
      case "soft-delete the source":
        return this.#delete(client, root);
      case "soft-delete the fork":
        return this.#delete(client, child);
      case "delete the last fork":
        return this.#delete(client, leaf);
    }
  }

  #origin(source: Incarnation, anchor: number | null): Origin {
    const json = this.#config.kind === "json";
    const second = [...(source.origin?.source ?? source).writes.values()].at(-1)?.payload.stored;
    const past = json ? (second?.indexOf('"},') ?? 0) + 3 : 8;
    return {
      source,
      offset: anchor === null ? null : source.offsetAt(anchor),
      subOffset: anchor === null ? 0 : json ? 1 : past,
      asks: { contentType: false, ttlSeconds: null, expiresAt: null },
      tailBefore: anchor === null ? source.tailSeen : 0,
      startedAt: this.#history.tick(),
      point: anchor === null ? null : anchor + past,
    };
  }

  async #create(client: StreamClient, slot: Slot, origin: Origin | null): Promise<void> {
    await sendCreate(client, this.#history, slot, slot.begin(this.#config, origin), null);
  }

  async #append(client: StreamClient, slot: Slot): Promise<void> {
    const life = lifeIn(slot);
    const id = this.#history.writeId(life);
    const payload = makePayload(this.#config.kind, id, 2, this.#random);
    await sendWrite(client, this.#history, life, recordWrite(this.#history, life, id, { payload }));
  }

  async #delete(client: StreamClient, slot: Slot): Promise<void> {
    await sendDelete(client, this.#history, slot, lifeIn(slot));
  }
}

function lifeIn(slot: Slot): Incarnation {
  const life = slot.current;
  if (life === undefined) throw new Error(`no stream at ${slot.path}`);
  return life;
}
