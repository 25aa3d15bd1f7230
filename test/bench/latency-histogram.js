// @ts-check
/**
 * Latencies in whole microseconds, counted in a typed array so that recording one costs no allocation.
 * Exact below 1,024 µs; above that each power of two has 512 steps, so a percentile is within 0.2 %.
 */

const EXACT = 1024;
const STEPS = 512;
const MAX_MICROS = 2 ** 31 - 1;
const BUCKETS = EXACT + 21 * STEPS;

export class LatencyHistogram {
  #counts = new Uint32Array(BUCKETS);
  #total = 0;

  /** @param {number} micros */
  record(micros) {
    const whole = micros < 0 ? 0 : micros > MAX_MICROS ? MAX_MICROS : Math.round(micros);
    this.#total += 1;
    if (whole < EXACT) {
      this.#counts[whole] = (this.#counts[whole] ?? 0) + 1;
      return;
    }
    const exponent = 31 - Math.clz32(whole);
    const bucket = EXACT + (exponent - 10) * STEPS + ((whole >>> (exponent - 9)) - STEPS);
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
  }

  reset() {
    this.#counts.fill(0);
    this.#total = 0;
  }

  /**
   * The latency in µs that `share` (0 to 1) of the recorded ones do not pass; NaN when none was recorded.
   * @param {number} share
   * @returns {number}
   */
  percentile(share) {
    if (this.#total === 0) return Number.NaN;
    const rank = Math.max(1, Math.ceil(this.#total * share));
    let seen = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
      seen += this.#counts[bucket] ?? 0;
      if (seen >= rank) return bucketMicros(bucket);
    }
    return MAX_MICROS;
  }
}

/** @param {number} bucket @returns {number} */
function bucketMicros(bucket) {
  if (bucket < EXACT) return bucket;
  const exponent = Math.floor((bucket - EXACT) / STEPS) + 10;
  const step = (bucket - EXACT) % STEPS;
  return (step + STEPS) * 2 ** (exponent - 9);
}
