// @ts-check
/** Whether a process's memory stays flat, from samples of its resident size taken while it works. */

const MIB = 1024 * 1024;
const SLACK_BYTES = 16 * MIB;
const SLACK_SHARE = 1.1;
const SAMPLES_MIN = 40;
/** Before this many requests the bounded caches (log tail, chunks, catalog pages) still fill up, which is no leak. */
const REQUESTS_MIN = 400_000;

/** @typedef {{requests: number, seconds: number, bytes: number}} Sample */

/** @param {readonly number[]} values at least one */
function median(values) {
  const sorted = [...values].sort((left, right) => left - right);
  return /** @type {number} */ (sorted[Math.floor(sorted.length / 2)]);
}

/** Least squares. @param {readonly (readonly [x: number, y: number])[]} points */
function slope(points) {
  const count = points.length;
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / count;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / count;
  let up = 0;
  let down = 0;
  for (const [x, y] of points) {
    up += (x - meanX) * (y - meanY);
    down += (x - meanX) ** 2;
  }
  return down === 0 ? 0 : up / down;
}

/** @param {readonly Sample[]} samples @returns {{text: string, flat: boolean}} `flat` also when there are too few to tell */
export function judgeMemory(samples) {
  if (samples.length < SAMPLES_MIN) return { text: `RSS: ${samples.length} samples are too few to judge`, flat: true };
  const tenth = (/** @type {number} */ index) =>
    median(
      samples
        .slice(Math.floor((index * samples.length) / 10), Math.floor(((index + 1) * samples.length) / 10))
        .map(({ bytes }) => bytes),
    );
  const [fifth, last] = [tenth(4), tenth(9)];
  const half = samples.slice(Math.floor(samples.length / 2));
  const perMinute = slope(half.map(({ seconds, bytes }) => [seconds / 60, bytes / MIB]));
  const perRequests = slope(half.map(({ requests, bytes }) => [requests / 100_000, bytes / MIB]));
  const bound = fifth * SLACK_SHARE + SLACK_BYTES;
  const size = (/** @type {number} */ bytes) => `${(bytes / MIB).toFixed(0)} MiB`;
  const text =
    `RSS: ${size(fifth)} in the fifth tenth, ${size(last)} in the last (bound ${size(bound)}); second half ` +
    `${perMinute.toFixed(1)} MiB a minute, ${perRequests.toFixed(1)} MiB per 100,000 requests; ` +
    `by tenths ${Array.from({ length: 10 }, (_, index) => Math.round(tenth(index) / MIB)).join(" ")}`;
  const judged = (samples.at(-1)?.requests ?? 0) >= REQUESTS_MIN;
  return {
    text: judged ? text : `${text}; not judged before ${REQUESTS_MIN} requests`,
    flat: !judged || last <= bound,
  };
}
