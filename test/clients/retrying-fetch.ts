/** The producer leaves retries to the `fetch` it is given. This one asks again for as long as no answer comes at all. */
import { setTimeout as pause } from "node:timers/promises";

const ATTEMPTS_MAX = 500;

export const retryingFetch: typeof fetch = async (input, init) => {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await fetch(input, init);
    } catch (error) {
      if (attempt === ATTEMPTS_MAX || init?.signal?.aborted === true) throw error;
      await pause(20);
    }
  }
};
