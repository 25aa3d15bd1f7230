/** What the receiver does with each webhook: most often its work, sometimes an error, a silence or a cut connection. */
import { setTimeout as pause } from "node:timers/promises";
import { Violation } from "../incarnation.ts";
import type { SeededRandom } from "../random.ts";
import type { SubscriptionBook } from "./book.ts";
import type { ShownStream, SubscriptionLife } from "./subscription-life.ts";
import type { Call, CallAnswer, WebhookKeys } from "./receiver.ts";
import { parseReply, type Work } from "./requests.ts";
import { wholeAcks } from "./workers.ts";

const MANNERS = { done: 45, later: 30, error: 8, slow: 8, cut: 6, silent: 3 } as const;
const OK: CallAnswer = { status: 200, body: "{}" };

interface NotificationShown {
  readonly subscription_id: string;
  readonly wake_id: string;
  readonly generation: number;
  readonly streams: readonly ShownStream[];
  readonly callback_url: string;
  readonly callback_token: string;
}

export interface WakePorts {
  readonly book: SubscriptionBook;
  readonly keys: WebhookKeys;
  readonly random: SeededRandom;
  readonly violated: (violation: Violation) => void;
  /** Takes over work that is called back for. */
  readonly later: (life: SubscriptionLife, work: Work) => void;
}

/** Judges each webhook and answers it. */
export class WakeDesk {
  readonly #ports: WakePorts;
  /** Webhooks by life's name and generation, to tell a retry. */
  readonly #seen = new Set<string>();
  /** From here on every wake is worked on at once. */
  isDiligent = false;
  /** Lives whose next wake is taken and not worked on, diligent or not. */
  readonly toForget: Set<SubscriptionLife> = new Set();

  constructor(ports: WakePorts) {
    this.#ports = ports;
  }

  async answer(call: Call): Promise<CallAnswer> {
    try {
      return await this.#answer(call);
    } catch (error) {
      const violation =
        error instanceof Violation ? error : new Violation(`webhook: ${String(error)}`, { cause: error });
      this.#ports.violated(violation);
      return { status: 500, body: "{}" };
    }
  }

  async #answer({ name, signature, body }: Call): Promise<CallAnswer> {
    const { book, keys, random, later } = this.#ports;
    keys.check(signature, body, Date.now());
    const life = book.slots
      .flatMap((slot) => [...slot.past, ...(slot.current === undefined ? [] : [slot.current])])
      .find((one) => one.name === name);
    if (life === undefined) throw new Violation(`a webhook to ${name}, which no subscription names`);
    const told = parseReply<NotificationShown>({ status: 200, headers: {}, body });
    const { generation, wake_id: wakeId, streams, callback_token: token } = told;
    const where = `webhook of generation ${generation}`;
    if (life.buried) life.fail(`${where}, though it was deleted before the last restart`);
    if (told.subscription_id !== life.id || !told.callback_url.endsWith(`/__ds/subscriptions/${life.id}/callback`)) {
      life.fail(`${where} is of ${told.subscription_id}, to call back ${told.callback_url}`);
    }
    this.#count(life, generation);
    life.toldOf(streams, (path) => book.lifeOf(path), where);
    const hold = life.leases.hold(generation, wakeId, `the receiver of ${name}`, Date.now());
    const usual = this.isDiligent ? "done" : random.weighted(MANNERS);
    const manner = this.toForget.delete(life) ? "silent" : usual;
    switch (manner) {
      case "error":
        return { status: random.pick([500, 503, 404, 301]), body: "{}" };
      case "cut":
        return "cut";
      case "silent":
        return OK;
      case "later":
        later(life, { hold, token, streams });
        return OK;
      case "slow":
        await pause(random.integer(100, 1_300));
        break;
      case "done":
        break;
    }
    // Whether the answer arrives nobody here can know: the cursors may go as far from now on.
    life.acking(wholeAcks(streams));
    life.leases.sending(hold, Date.now(), true);
    return { status: 200, body: '{"done":true}' };
  }

  #count(life: SubscriptionLife, generation: number): void {
    const { book } = this.#ports;
    book.see(life, generation);
    book.counts.webhooks += 1;
    const key = `${life.name}@${generation}`;
    if (this.#seen.has(key)) book.counts.retries += 1;
    this.#seen.add(key);
  }
}
