// @ts-check
/** Sets of equal streams that append cases write to, and the requests that are prepared for them. */
import { progress } from "./bench-run.js";
import { hostOf } from "./connection.js";

/**
 * Creates the set and prepares one append for each of its streams, in a fixed random order, as `<root>-<count>` or the
 * name given. `problem` is what a server answered that could not create them all within the time for it, else empty.
 * @param {import("./bench-run.js").BenchRun} run
 * @param {import("./bench-run.js").Contender} contender
 * @param {{count: number, body: string, contentType?: string, name?: string}} set
 * @returns {Promise<{done: number, problem: string}>}
 */
export async function makeStreams(
  run,
  contender,
  { count, body, contentType = "application/octet-stream", name = "" },
) {
  if (contender.problem !== "") return { done: 0, problem: contender.problem };
  const { address, root } = contender;
  const group = `bench-${process.pid}-${name}${count}`;
  const job = { address, method: "PUT", root, group, contentType, count, bodyBytes: 0 };
  const own = contender.name === run.ownName;
  const within = own ? {} : { withinMs: run.settings.setupMs };
  let done = 0;
  let problem = "";
  try {
    await contender.makeGroup(group);
    const made = await run.generator.run({ kind: "sweep", job: { ...job, ...within, connections: 32, pipeline: 16 } });
    progress(`${contender.name}: ${made.done} of ${count} streams in ${made.seconds.toFixed(1)} s`);
    done = made.done;
    if (done < count) problem = createdOnly(made, count);
  } catch (error) {
    problem = `creating ${streamsName(count)}: ${error instanceof Error ? error.message : String(error)}`;
  }
  if (problem !== "" && own) throw new Error(problem);
  if (problem !== "") progress(`! ${contender.name}: ${problem}`);
  const spec = { root, group, count, body, contentType, host: hostOf(address) };
  await run.generator.run({ kind: "prepare", name: `${root}-${name}${count}`, spec });
  return { done, problem };
}

/** @param {{done: number, seconds: number, statuses: Record<string, number>}} made @param {number} count */
function createdOnly({ done, seconds, statuses }, count) {
  const refused = Object.entries(statuses).filter(([status]) => !status.startsWith("2"));
  const why =
    refused.length === 0 ? `in ${Math.round(seconds)} s` : refused.map(([status, times]) => `${times} × ${status}`);
  return `created ${done.toLocaleString("en-US")} of ${streamsName(count)}: ${String(why)}`;
}

/** @param {number} count @returns {string} */
export function streamsName(count) {
  return `${count.toLocaleString("en-US")} stream${count === 1 ? "" : "s"}`;
}
