// @ts-check
/**
 * Durable appends of 100 B: connections × sets of streams, each round beside a bare server that gets the very same
 * bytes. The largest set has fresh servers of its own, as a server that runs out of something on it must not spoil the
 * rest, and so that its cost per stream is that set's alone.
 */
import { progress } from "./bench-run.js";
import { measureDiskSync } from "./disk-sync.js";
import { diskBytes, readRss } from "./process-stats.js";
import { figure } from "./report.js";
import { interleave } from "./rounds.js";
import { makeStreams, streamsName } from "./stream-sets.js";

const BODY = "x".repeat(100);
const WARMUP_MS = 300;
const SMALL_SETS = [1, 100, 10_000];
/** From this many connections on, all sets are measured; below, a single stream and the set that all figures share. */
const MANY_CONNECTIONS = 64;
const SHARED_SET = 100;

/** @typedef {import("./request-load.js").LoadResult} LoadResult */
/** @typedef {import("./bench-run.js").BenchRun} BenchRun */
/** @typedef {import("./bench-run.js").Contender} Contender */
/** @typedef {{server: string, contender: Contender | null, address: import("./connection.js").Address, requests: string, set: number}} Load */

/** @param {BenchRun} run */
export async function appendCases(run) {
  const { streams } = run.settings;
  const largest = Math.max(...SMALL_SETS);
  await smallSets(run, [...SMALL_SETS.filter((count) => count < streams), ...(streams > largest ? [] : [streams])]);
  if (streams > largest) await largeSet(run, streams);
}

/** @param {BenchRun} run @param {readonly number[]} sets */
async function smallSets(run, sets) {
  const contenders = await run.startContenders("appends");
  const shared = sets.includes(SHARED_SET) ? SHARED_SET : Math.max(...sets);
  /** @type {Map<string, string>} */
  const problems = new Map();
  for (const contender of contenders) {
    const own = contender.name === run.ownName;
    for (const count of own ? sets : sets.filter((set) => set >= shared)) {
      const { problem } = await makeStreams(run, contender, { count, body: BODY });
      problems.set(`${contender.name}/${count}`, problem);
    }
  }
  for (const connections of run.settings.connections) {
    const [own] = contenders;
    const asked = connections >= MANY_CONNECTIONS ? sets : sets.filter((set) => set === 1 || set === shared);
    const loads = [
      ...(await bareLoads(run, connections, requestsOf(own, shared), shared)),
      ...contenders.flatMap((contender) =>
        asked
          .filter((set) => contender === own || set >= shared)
          .map((set) => loadOf(contender, set, problems.get(`${contender.name}/${set}`) ?? "")),
      ),
    ];
    await measureLoads(run, connections, loads, asked);
  }
  for (const { name, pid, problem } of contenders) {
    if (pid === 0 || problem !== "") continue;
    const { now, peak } = await readRss(pid);
    const note = `${figure(peak / 2 ** 20)} MiB at its highest`;
    const about = { key: "appends/rss", measure: "resident memory after the appends", unit: "MiB", note };
    run.figures.add({ ...about, server: name, better: "less", rounds: [now / 2 ** 20] });
  }
  await Promise.all(contenders.map((contender) => contender.stop()));
}

/** @param {BenchRun} run @param {number} count */
async function largeSet(run, count) {
  const contenders = await run.startContenders("appends-large");
  const [own] = contenders;
  if (own === undefined) return;
  /** @type {Map<string, string>} */
  const problems = new Map();
  // On the same server, so that nothing but the number of streams differs.
  await makeStreams(run, own, { count: SHARED_SET, body: BODY });
  for (const contender of contenders) {
    const before = await costOf(contender);
    const { done, problem } = await makeStreams(run, contender, { count, body: BODY });
    problems.set(contender.name, problem);
    if (done > 0) await addCost(run, contender, done, before);
  }
  for (const connections of run.settings.connections.filter((some) => some >= MANY_CONNECTIONS)) {
    const bare = await run.bare("discard");
    const requests = requestsOf(own, count);
    await measureLoads(
      run,
      connections,
      [
        { server: "bare", contender: null, address: bare, requests, set: count },
        { ...loadOf(own, SHARED_SET, ""), server: `${own.name}, ${SHARED_SET} streams` },
        ...contenders.map((contender) => loadOf(contender, count, problems.get(contender.name) ?? "")),
      ],
      [count],
    );
  }
  await Promise.all(contenders.map((contender) => contender.stop()));
}

/** @param {BenchRun} run @param {number} connections @param {string} requests @param {number} set @returns {Promise<Load[]>} */
async function bareLoads(run, connections, requests, set) {
  /** @type {(keyof import("./bare-server.js").BarePorts)[]} */
  const variants = connections === 1 ? ["discard", "synced", "eachNow", "eachLater"] : ["discard", "synced"];
  const names = {
    discard: "bare",
    synced: "bare, one sync for all",
    eachNow: "bare, sync each",
    eachLater: "bare, sync each, async",
  };
  const loads = variants.map(async (variant) => ({
    server: names[/** @type {keyof typeof names} */ (variant)],
    contender: null,
    address: await run.bare(variant),
    requests,
    set,
  }));
  return Promise.all(loads);
}

/** @param {Contender} contender @param {number} set @param {string} problem of this set alone @returns {Load} */
function loadOf(contender, set, problem) {
  const asked = contender.problem === "" ? { ...contender, problem } : contender;
  return {
    server: contender.name,
    contender: asked,
    address: contender.address,
    requests: requestsOf(contender, set),
    set,
  };
}

/** @param {Contender | undefined} contender @param {number} set */
function requestsOf(contender, set) {
  return `${contender?.root}-${set}`;
}

/** What is bare knows no streams, so its figures stand beside every set. @param {BenchRun} run @param {number} connections @param {readonly Load[]} loads @param {readonly number[]} sets */
async function measureLoads(run, connections, loads, sets) {
  /** @type {number[]} */
  const syncMicros = [];
  const outcomes = await interleave(
    run.settings,
    loads.map(({ server, contender, address, requests }) => ({
      server,
      contender,
      measure: async (durationMs) => {
        // Right before its window, as a disk's speed changes with what else uses it.
        if (connections === 1 && server === run.ownName) syncMicros.push(measureDiskSync(run.directory));
        const job = { address, connections, warmupMs: WARMUP_MS, durationMs };
        return /** @type {Promise<LoadResult>} */ (run.generator.run({ kind: "requests", name: requests, job }));
      },
    })),
  );
  const at = `${connections} connection${connections === 1 ? "" : "s"}`;
  for (const set of sets) {
    for (const [index, { server, contender, set: own }] of loads.entries()) {
      if (contender !== null && own !== set && server === contender.name) continue;
      const { results, problem } = outcomes[index] ?? { results: [], problem: "" };
      const about = { key: `appends/${connections}/${set}`, measure: `appends of 100 B, ${at}, ${streamsName(set)}` };
      run.figures.addWindows(
        { ...about, server, unit: "appends/s", note: problem },
        results,
        (result) => result.perSecond,
      );
    }
  }
  if (syncMicros.length > 0) {
    const about = { key: "disk-sync", measure: "one write of 128 B and its fdatasync", unit: "µs" };
    run.figures.add({ ...about, server: "bare", better: "less", rounds: syncMicros });
  }
  progress(`appends, ${at}, ${sets.map(streamsName).join(", ")}: done`);
}

/** @param {Contender} contender @returns {Promise<{rss: number, disk: number} | null>} */
async function costOf({ pid, dataDir, problem }) {
  if (pid === 0 || dataDir === null || problem !== "") return null;
  return { rss: (await readRss(pid)).now, disk: await diskBytes(dataDir) };
}

/** @param {BenchRun} run @param {Contender} contender @param {number} count @param {{rss: number, disk: number} | null} before */
async function addCost(run, contender, count, before) {
  const after = await costOf(contender);
  if (before === null || after === null) return;
  const note = `right after ${streamsName(count)} were created`;
  const about = { server: contender.name, unit: "B", better: /** @type {const} */ ("less"), note };
  const measures = [
    { key: "cost/rss", measure: "resident memory for each idle stream", rounds: [(after.rss - before.rss) / count] },
    { key: "cost/disk", measure: "disk for each idle stream", rounds: [(after.disk - before.disk) / count] },
  ];
  for (const measure of measures) run.figures.add({ ...about, ...measure });
}
