import type { Clock, Random } from "@coldbrook/core";

/** Times in milliseconds. */
export interface RetryPolicy {
  /** The first attempt counts. */
  readonly attemptsMax: number;
  /** No attempt starts later than this after the first did. */
  readonly budgetMs: number;
  /** Upper end of the first wait; each further one doubles, up to waitMsMax. */
  readonly waitMs: number;
  readonly waitMsMax: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly sleep: (ms: number) => Promise<void>;
}

export type Attempt<T> =
  | { readonly kind: "done"; readonly value: T }
  /** `error` is thrown when there is no further attempt. */
  | { readonly kind: "again"; readonly error: Error };

/**
 * Attempts until one is done, waiting between them with full jitter: uniform in [0, the doubling limit), so that many
 * callers that failed together do not come back together. What an attempt throws ends it at once.
 */
export async function withRetry<T>(policy: RetryPolicy, attempt: () => Promise<Attempt<T>>): Promise<T> {
  const deadline = policy.clock() + policy.budgetMs;
  for (let made = 1; ; made += 1) {
    const outcome = await attempt();
    if (outcome.kind === "done") return outcome.value;
    const limit = Math.min(policy.waitMsMax, policy.waitMs * 2 ** (made - 1));
    const wait = policy.random() * limit;
    if (made >= policy.attemptsMax || policy.clock() + wait > deadline) throw outcome.error;
    await policy.sleep(wait);
  }
}
