/** Callback and claim tokens (protocol sections 7.3 and 12.9): each is good for one wake of one subscription, and for its kind. */
import { refuse } from "@coldbrook/core";
import type { Clock, SubscriptionRefusal, WakeToken } from "@coldbrook/core";
import { mintToken, readToken } from "../webhook/tokens.ts";
import type { TokenKind } from "../webhook/tokens.ts";
import type { Subscription } from "./subscription.ts";

/** How long a token is good for, unless its wake ends before. */
const TOKEN_SECONDS = 86_400;

export class WakeTokens {
  readonly #secret: Uint8Array;
  readonly #clock: Clock;

  constructor(secret: Uint8Array, clock: Clock) {
    this.#secret = secret;
    this.#clock = clock;
  }

  /** For the subscription's wake of that number. */
  mint({ id }: Subscription, generation: number, kind: TokenKind): string {
    const exp = Math.floor(this.#clock() / 1000) + TOKEN_SECONDS;
    return mintToken(this.#secret, { sub: String(id), gen: generation, kind, exp });
  }

  /** What the token says, or why it is none for such a request of this subscription. */
  read(subscription: Subscription, kind: TokenKind, text: string, nowMs: number): WakeToken | SubscriptionRefusal {
    const { type } = subscription.pending.config;
    if ((type === "webhook") !== (kind === "callback")) {
      return refuse("INVALID_REQUEST", `a ${type} subscription takes no such request`);
    }
    const claims = readToken(this.#secret, text, nowMs);
    if ("error" in claims) {
      if (claims.error === "expired") return refuse("TOKEN_EXPIRED", "the token has expired");
      return refuse("TOKEN_INVALID", "the token was not made by this server");
    }
    if (claims.kind !== kind || claims.sub !== String(subscription.id)) {
      return refuse("TOKEN_INVALID", "the token is for something else");
    }
    return { subscription: subscription.id, generation: claims.gen };
  }
}
