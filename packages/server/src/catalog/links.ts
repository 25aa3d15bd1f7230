/**
 * Key kinds `(subscription id, path)` → link, and `path NUL subscription id` for the explicit ones, which are also looked for
 * by path: nothing else tells whom an append concerns.
 */
import { crc32 } from "node:zlib";
import { decodeLink, encodeLink, generation } from "@coldbrook/core";
import type { Generation, SubscriptionLink } from "@coldbrook/core";
import { decodeValue, openStore } from "./environment.ts";
import type { CatalogEnvironment, ValueStore } from "./environment.ts";

const NOTHING = new Uint8Array(0);
/** Ends a path: paths hold no control characters. */
const END = "\u0000";
const PAST_END = "\u0001";
const ID_DIGITS = 16;

function explicitKey(path: string, id: Generation): string {
  return path + END + String(id).padStart(ID_DIGITS, "0");
}

export class LinkRecords {
  readonly #environment: CatalogEnvironment;
  readonly #links: ValueStore<[number, string]>;
  readonly #explicit: ValueStore<string>;

  constructor(environment: CatalogEnvironment) {
    this.#environment = environment;
    this.#links = openStore(environment, "links");
    this.#explicit = openStore(environment, "explicit-links");
  }

  /** @throws StreamError corrupt-catalog */
  load(id: Generation, path: string): SubscriptionLink | undefined {
    const bytes = this.#links.get([id, path]);
    if (bytes === undefined) return undefined;
    const what = `the link of subscription ${id} to "${path}"`;
    return decodeValue(this.#environment, what, () => decodeLink(id, path, bytes, crc32));
  }

  /** To be called inside a batch. */
  put(id: Generation, link: SubscriptionLink): void {
    this.#links.put([id, link.path], encodeLink(id, link, crc32));
    const key = explicitKey(link.path, id);
    if (link.explicit) this.#explicit.put(key, NOTHING);
    else this.#explicit.remove(key);
  }

  /** To be called inside a batch. */
  remove(id: Generation, path: string): void {
    this.#links.remove([id, path]);
    this.#explicit.remove(explicitKey(path, id));
  }

  /** Up to `limit` paths of the subscription's links, in order, from `from` on, itself included. */
  paths(id: Generation, from: string, limit: number): string[] {
    const keys = this.#links.getKeys({ start: [id, from], end: [id + 1, ""], limit });
    return Array.from(keys, ([, path]) => path);
  }

  /** The subscriptions that name this very path. */
  explicitOf(path: string): Generation[] {
    const keys = this.#explicit.getKeys({ start: path + END, end: path + PAST_END });
    return Array.from(keys, (key) => generation(Number(key.slice(-ID_DIGITS))));
  }

  /** For the checker: every link. */
  *all(): Generator<{ id: Generation; path: string }> {
    for (const [id, path] of this.#links.getKeys({ snapshot: false })) yield { id: generation(id), path };
  }

  /** For the checker: every explicit link, as it is found by path. */
  *allExplicit(): Generator<{ id: Generation; path: string }> {
    for (const key of this.#explicit.getKeys({ snapshot: false })) {
      yield { id: generation(Number(key.slice(-ID_DIGITS))), path: key.slice(0, -ID_DIGITS - END.length) };
    }
  }
}
