// @ts-check
/** How busy the generator's own process was while it measured; from 95 % of a core on, it is the limit. */
import { performance } from "node:perf_hooks";

export const CPU_LIMIT_SHARE = 0.95;

/**
 * @typedef {object} GeneratorCpu
 * @property {number} cpuShare user and system time over elapsed time; 1 is one core
 * @property {number} loopShare share of the time in which the event loop had work, waiting for a core included
 * @property {boolean} isLimit the generator, not the server, may have set the figure
 */

/**
 * Starts measuring; the returned function ends it.
 * @returns {() => GeneratorCpu}
 */
export function startCpu() {
  const cpu = process.cpuUsage();
  const loop = performance.eventLoopUtilization();
  const from = performance.now();
  return () => {
    const used = process.cpuUsage(cpu);
    const elapsedMicros = (performance.now() - from) * 1000;
    const cpuShare = (used.user + used.system) / elapsedMicros;
    return {
      cpuShare,
      loopShare: performance.eventLoopUtilization(loop).utilization,
      isLimit: cpuShare >= CPU_LIMIT_SHARE,
    };
  };
}
