// @ts-check
/** Appends of the very same 1 KiB of JSON, to streams of application/json and to octet streams, beside each other. */
import { progress } from "./bench-run.js";
import { interleave } from "./rounds.js";
import { makeStreams } from "./stream-sets.js";

const STREAMS = 100;
const CONNECTIONS = 64;
const WARMUP_MS = 300;
const BODY_BYTES = 1024;
const KINDS = /** @type {const} */ ([
  { name: "octet", contentType: "application/octet-stream" },
  { name: "json", contentType: "application/json" },
]);

/** @typedef {import("./request-load.js").LoadResult} LoadResult */

/** @param {import("./bench-run.js").BenchRun} run */
export async function jsonCase(run) {
  const contenders = await run.startContenders("json");
  const body = jsonBody();
  const count = Math.min(STREAMS, run.settings.streams);
  const connections = Math.min(CONNECTIONS, Math.max(...run.settings.connections));
  /** @type {{server: string, contender: import("./bench-run.js").Contender | null, address: import("./connection.js").Address, requests: string, kind: string}[]} */
  const loads = [];
  for (const { name, contentType } of KINDS) {
    for (const contender of contenders) {
      const set = { count, body, contentType, name: `${name}-` };
      const { problem } = await makeStreams(run, contender, set);
      const asked = contender.problem === "" ? { ...contender, problem } : contender;
      const { address, root } = contender;
      loads.push({
        server: contender.name,
        contender: asked,
        address,
        requests: `${root}-${name}-${count}`,
        kind: name,
      });
    }
    const requests = `${contenders[0]?.root}-${name}-${count}`;
    const kind = name;
    loads.unshift({ server: "bare", contender: null, address: await run.bare("discard"), requests, kind });
  }
  const outcomes = await interleave(
    run.settings,
    loads.map(({ server, contender, address, requests }) => ({
      server,
      contender,
      measure: (durationMs) => {
        const job = { address, connections, warmupMs: WARMUP_MS, durationMs };
        return /** @type {Promise<LoadResult>} */ (run.generator.run({ kind: "requests", name: requests, job }));
      },
    })),
  );
  for (const { name, contentType } of KINDS) {
    for (const [index, { server, kind }] of loads.entries()) {
      if (kind !== name) continue;
      const { results, problem } = outcomes[index] ?? { results: [], problem: "" };
      const measure = `appends of 1 KiB, ${contentType}, ${connections} connections, ${count} streams`;
      const about = { key: `json/${name}`, measure, server, unit: "appends/s", note: problem };
      run.figures.addWindows(about, results, (result) => result.perSecond);
    }
  }
  await Promise.all(contenders.map((contender) => contender.stop()));
  progress("json: done");
}

/** One message such as applications send: nested, with numbers, escapes and a text. @returns {string} */
function jsonBody() {
  const message = {
    id: "0190f3a4-7c1e-7d7e-9a55-3f1b6a1d2c4e",
    type: "message.delta",
    at: 1_764_000_000_000,
    author: { id: 81_723, name: "Ada", roles: ["writer", "owner"], verified: true },
    usage: { input: 1284, output: 97, cost: 0.004_31, cached: null },
    tags: ["alpha", "beta", '"quoted"', "line\nbreak"],
    text: "",
  };
  const missing = BODY_BYTES - JSON.stringify(message).length;
  message.text = "The quick brown fox jumps over the lazy dog. ".repeat(30).slice(0, missing);
  return JSON.stringify(message);
}
