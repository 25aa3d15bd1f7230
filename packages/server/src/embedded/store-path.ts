/** Stream paths as the stores take them: URL paths with a leading slash, here the canonical paths of the engine. */
import { parseStreamPath } from "@coldbrook/core";
import type { StreamPath } from "@coldbrook/core";

/** What subscriptions call streams by is what comes behind this. */
export const SUBSCRIPTION_PREFIX = "v1/stream/";

/** What a URL would have escaped. */
const UNESCAPED = /[^\x21-\x7e]+/gu;

/** The engine's path for a store's. Characters that a URL must escape are escaped; one leading slash counts as none. */
export function enginePath(path: string): StreamPath {
  try {
    return parseStreamPath((path.startsWith("/") ? path.slice(1) : path).replaceAll(UNESCAPED, encodeURIComponent));
  } catch {
    return { kind: "bad", detail: "path holds half a character (a lone surrogate)" };
  }
}

/** A store's path for the engine's. */
export function storePath(path: string): string {
  return `/${path}`;
}
