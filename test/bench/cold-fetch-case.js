// @ts-check
/** How many bytes are fetched from S3 for each byte served when a rolled stream is read once with an empty cache. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { endpointEnv, storeOf } from "./bench-store.js";
import { progress } from "./bench-run.js";
import { ROLL_FLAGS } from "./catch-up-cases.js";
import { startCountingProxy } from "./counting-proxy.js";
import { writeStream } from "./http-client.js";
import { waitUntilRolled } from "./process-stats.js";
import { warningsOf } from "./report.js";

/** @param {import("./bench-run.js").BenchRun} run @returns {Promise<import("./report.js").Row[]>} */
export async function coldFetchCase(run) {
  const { s3, streamBytes } = run.settings;
  if (s3 === null) {
    progress("cold-fetch: left out, it counts S3 traffic and needs --s3");
    return [];
  }
  const store = await storeOf(run.settings, "cold-fetch");
  const writer = await run.startTarget("cold-fetch", [...ROLL_FLAGS, ...store.flags], store.env);
  const { dataDir } = writer;
  if (dataDir === null) throw new Error("cold reads need a server that the benchmark starts itself");
  const path = `${writer.root}/bench-${process.pid}-cold-fetch`;
  await writeStream(writer.address, { path, bytes: streamBytes, messageBytes: 64 * 1024 });
  await waitUntilRolled(dataDir, { segmentAgeMs: 1000, withinMs: 300_000 });
  await writer.server?.stop();
  await rm(join(dataDir, "cache"), { recursive: true, force: true });

  const proxy = await startCountingProxy(s3);
  try {
    const reader = await run.startTarget("cold-fetch", store.flags, endpointEnv(proxy.url));
    const before = { ...proxy.counts };
    const job = { connections: 1, chain: true, streamBytes, warmupMs: 0, durationMs: 0 };
    const result = await run.generator.run({
      kind: "catch-up",
      job: { ...job, address: reader.address, paths: [path] },
    });
    const fetched = proxy.counts.getBytes - before.getBytes;
    await reader.server?.stop();
    return [
      {
        measure: "cold read, bytes fetched per byte served",
        unit: "MB",
        coldbrook: fetched / 1e6,
        bare: result.bytes / 1e6,
        ratio: fetched / result.bytes,
        goal: { bound: "at-most", value: 1.05, of: "ratio" },
        detail: `${proxy.counts.gets - before.gets} GETs; fetched beside served`,
        generatorCpuShare: result.generator.cpuShare,
        warnings: [
          ...warningsOf("coldbrook", { refused: result.refused, generator: result.generator }),
          ...(result.wrongPasses === 0 ? [] : ["the read did not bring the bytes that were appended"]),
        ],
      },
    ];
  } finally {
    await proxy.close();
  }
}
