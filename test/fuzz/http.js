// @ts-check
/**
 * Fuzzes the HTTP surface of a real server with raw bytes: `node test/fuzz/http.js [--requests N] [--seed N]
 * [--time-budget SECONDS] [--slots N] [--save] [--replay FILE]`. See README.md.
 */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Connection } from "./connection.js";
import { Corpus, readCorpus, readRequest } from "./corpus.js";
import { judgeMemory } from "./memory.js";
import { Random } from "./random.js";
import { BadResponse } from "./responses.js";
import { createSentinels, lookAtSentinels } from "./sentinels.js";
import { COLDBROOK, ServerProcess } from "./server-process.js";
import { Finding, Slot } from "./slot.js";
import { Tally } from "./tally.js";

const SAMPLE_MS = 500;
/** Live reads end soon, segments are rolled, and responses are compressed while the run goes on. */
const FLAGS = [
  "--long-poll-ms",
  "5",
  "--sse-ms",
  "100",
  "--segment-bytes",
  "8MiB",
  "--segment-age-ms",
  "2000",
  "--object-grace-ms",
  "1000",
  "--cache-bytes-max",
  "16MiB",
  "--compression",
  "on",
  "--chunk-bytes",
  "64KiB",
];

const { values } = parseArgs({
  options: {
    requests: { type: "string", default: "1000000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    "time-budget": { type: "string", default: "3600" },
    slots: { type: "string", default: "48" },
    command: { type: "string", default: COLDBROOK },
    save: { type: "boolean", default: false },
    replay: { type: "string" },
  },
});
const seed = Number(values.seed);

/** @template Result @param {(server: ServerProcess) => Promise<Result>} work @returns {Promise<Result>} */
async function withServer(work) {
  const dataDir = await mkdtemp(path.join(tmpdir(), "coldbrook-fuzz-"));
  const server = await ServerProcess.start([values.command, "serve", "--port", "0", "--data-dir", dataDir, ...FLAGS]);
  try {
    await createSentinels(server);
    return await work(server);
  } finally {
    if (server.ended === null) await server.kill();
    await rm(dataDir, { recursive: true, force: true });
  }
}

/** @param {ServerProcess} server */
async function fuzz(server) {
  const random = new Random(seed);
  const tally = new Tally();
  const corpus = new Corpus(random.fork(), readCorpus());
  const slots = Array.from({ length: Number(values.slots) }, () => new Slot(server, random.fork(), corpus, tally));
  const before = await lookAtSentinels(server);
  /** @type {import("./memory.js").Sample[]} */
  const samples = [];
  const from = performance.now();
  const seconds = () => (performance.now() - from) / 1000;
  let failed = false;
  const over = () => failed || tally.malformed >= Number(values.requests) || seconds() >= Number(values["time-budget"]);
  const stopFailed = (/** @type {unknown} */ error) => {
    failed = true;
    throw error;
  };
  const drive = async (/** @type {Slot} */ slot) => {
    while (!over()) await slot.step();
  };
  const watch = async () => {
    for (let round = 0; !over(); round++) {
      await wait(SAMPLE_MS);
      const bytes = await server.rss();
      if (bytes === null) throw new Finding(`the server died: ${server.ended}`, Buffer.alloc(0));
      samples.push({ requests: tally.malformed, seconds: seconds(), bytes });
      if (round % 4 === 0) await compareSentinels(server, before);
      if (round % 20 === 19) console.log(`${tally.malformed} malformed requests, ${Math.round(bytes / 1048576)} MiB`);
    }
  };
  try {
    await Promise.all([...slots.map(drive), watch()].map((work) => work.catch(stopFailed)));
    await compareSentinels(server, before);
    const memory = judgeMemory(samples);
    report(tally, seconds(), memory.text);
    if (!memory.flat) throw new Finding("RSS is not flat", Buffer.alloc(0));
    if (/failed unexpectedly/.test(server.log))
      throw new Finding("the server logged an unexpected failure", Buffer.alloc(0));
    for (const slot of slots) slot.close();
    await server.stop();
    if (values.save) console.log(`${corpus.save()} new files in the corpus`);
  } catch (error) {
    for (const slot of slots) slot.close();
    report(tally, seconds(), "");
    await keepFailure(error, tally, server);
  }
}

/** @param {ServerProcess} server @param {readonly string[]} before */
async function compareSentinels(server, before) {
  const now = await lookAtSentinels(server);
  for (const [index, text] of now.entries()) {
    if (text !== before[index])
      throw new Finding(`a sentinel changed: ${before[index]} is now ${text}`, Buffer.alloc(0));
  }
}

/** @param {Tally} tally @param {number} seconds @param {string} memory */
function report(tally, seconds, memory) {
  for (const line of tally.lines()) console.log(line);
  const all = tally.malformed + tally.wellFormed;
  console.log(
    `seed ${seed}: ${tally.malformed} malformed requests and ${tally.wellFormed} others in ${tally.connections} batches, ` +
      `${seconds.toFixed(1)} s, ${Math.round(all / seconds)} a second; ${tally.looks} looks at streams behind refused requests; ` +
      `${tally.resets} connections reset`,
  );
  let errors = 0;
  for (const [key, count] of tally.counts) if (key.startsWith("5")) errors += count;
  console.log(`5xx that no limit and no RFC asks for: 0 (${errors} documented)`);
  if (memory !== "") console.log(memory);
}

/** @param {unknown} error @param {Tally} tally @param {ServerProcess} server */
async function keepFailure(error, tally, server) {
  // A server that has died is known to have only a moment after its connections.
  await wait(200);
  const died = server.ended === null ? "" : `; the server died: ${server.ended}`;
  const what = `${error instanceof Finding ? error.message : String(error)}${died}`;
  const bytes = error instanceof Finding ? error.bytes : Buffer.alloc(0);
  const file = path.join(tmpdir(), `coldbrook-fuzz-${seed}.json`);
  const connections = [...tally.history.filter((part) => part !== bytes), bytes].map((part) => part.toString("latin1"));
  await writeFile(file, `${JSON.stringify({ seed, what, log: server.log, connections }, null, 1)}\n`);
  console.error(`FAILED with --seed ${seed}: ${what}\n${JSON.stringify(bytes.toString("latin1"))}\n${server.log}`);
  console.error(`the last connections' bytes are in ${file}: node test/fuzz/http.js --replay ${file}`);
  process.exitCode = 1;
}

/** @param {string} file @returns {Promise<Buffer[]>} the bytes of each connection */
async function recorded(file) {
  if (!file.endsWith(".json")) return [readRequest(file)];
  const { connections } = /** @type {{connections: string[]}} */ (JSON.parse(await readFile(file, "utf8")));
  return connections.map((text) => Buffer.from(text, "latin1"));
}

/** @param {ServerProcess} server @param {string} file */
async function replay(server, file) {
  const before = await lookAtSentinels(server);
  for (const bytes of await recorded(file)) {
    const connection = new Connection(server);
    const request = { bytes, method: "", framed: false, malformed: true, mustRefuse: false };
    try {
      console.log(`> ${JSON.stringify(bytes.toString("latin1"))}`);
      const { rest } = await connection.send([request]);
      for (const { status, headers, body } of rest) {
        console.log(
          `< ${status} ${JSON.stringify(Object.fromEntries(headers))} ${JSON.stringify(body.toString("latin1").slice(0, 500))}`,
        );
      }
    } catch (error) {
      if (!(error instanceof BadResponse)) throw error;
      console.log(`< BAD: ${error.message}`);
      process.exitCode = 1;
    } finally {
      connection.destroy();
    }
  }
  await compareSentinels(server, before);
  if (server.ended !== null) throw new Error(`the server died: ${server.ended}\n${server.log}`);
}

const file = values.replay;
await withServer((server) => (file === undefined ? fuzz(server) : replay(server, file)));
