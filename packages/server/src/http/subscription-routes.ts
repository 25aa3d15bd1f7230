/** The routes below the reserved prefix (protocol section 6): what a request target names there. */

export type SubscriptionAction = "callback" | "claim" | "ack" | "release";

export type ControlRoute =
  | { readonly kind: "jwks" }
  | { readonly kind: "subscription"; readonly name: string }
  | { readonly kind: "streams"; readonly name: string }
  /** `path` is percent-decoded once. */
  | { readonly kind: "stream"; readonly name: string; readonly path: string }
  | { readonly kind: "action"; readonly name: string; readonly action: SubscriptionAction }
  | { readonly kind: "malformed" }
  | { readonly kind: "unknown" };

const UNKNOWN: ControlRoute = { kind: "unknown" };
const SUBSCRIPTIONS = "subscriptions";
const ACTIONS: ReadonlySet<string> = new Set(["callback", "claim", "ack", "release"]);

function isAction(text: string): text is SubscriptionAction {
  return ACTIONS.has(text);
}

/** `target` without its query. Null when it is not below the prefix. */
export function controlRoute(prefix: string, target: string): ControlRoute | null {
  if (target === prefix) return UNKNOWN;
  if (!target.startsWith(`${prefix}/`)) return null;
  const [area, id, collection, ...rest] = target.slice(prefix.length + 1).split("/");
  if (area === "jwks.json" && id === undefined) return { kind: "jwks" };
  if (area !== SUBSCRIPTIONS || id === undefined || id === "") return UNKNOWN;
  const name = decoded(id);
  if (name === null) return { kind: "malformed" };
  if (collection === undefined) return { kind: "subscription", name };
  if (collection === "streams") {
    if (rest.length === 0) return { kind: "streams", name };
    const path = decoded(rest.join("/"));
    return path === null ? { kind: "malformed" } : { kind: "stream", name, path };
  }
  return rest.length === 0 && isAction(collection) ? { kind: "action", name, action: collection } : UNKNOWN;
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
