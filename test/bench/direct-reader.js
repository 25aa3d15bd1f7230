// @ts-check
/**
 * Ranged GETs of sealed objects straight from S3, by the same client library that the server uses, in a process of its
 * own: what cold reads are held against. Answers with the fields of a catch-up result.
 */
import { GetObjectCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import { performance } from "node:perf_hooks";
import { openClient } from "./bench-store.js";
import { startCpu } from "./generator-cpu.js";
import { LatencyHistogram } from "./latency-histogram.js";

/**
 * @typedef {{id: number, kind: "open", endpoint: string, bucket: string, prefix: string}
 *   | {id: number, kind: "read", concurrency: number, chunkBytes: number, durationMs: number}} DirectJob
 */

/** @type {import("@aws-sdk/client-s3").S3Client | null} */
let client = null;
let bucket = "";
/** @type {{key: string, from: number, to: number}[]} */
let ranges = [];

/** @param {Extract<DirectJob, {kind: "open"}>} job */
async function open(job) {
  client = openClient(job.endpoint, null);
  bucket = job.bucket;
  const listed = await client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: job.prefix }));
  const objects = (listed.Contents ?? []).filter((object) => object.Key?.endsWith(".cbo"));
  const step = 1024 * 1024;
  ranges = objects.flatMap(({ Key: key = "", Size: bytes = 0 }) =>
    Array.from({ length: Math.floor(bytes / step) }, (_, index) => ({
      key,
      from: index * step,
      to: (index + 1) * step,
    })),
  );
  if (ranges.length === 0) throw new Error(`no sealed object of 1 MiB or more below ${job.prefix}`);
  return null;
}

/** @param {Extract<DirectJob, {kind: "read"}>} job */
async function read(job) {
  const histogram = new LatencyHistogram();
  let bytes = 0;
  const endCpu = startCpu();
  const from = performance.now();
  /** @param {number} lane */
  const readLane = async (lane) => {
    // Lanes start apart, as readers of different streams do.
    let next = Math.floor((ranges.length * lane) / job.concurrency);
    while (performance.now() - from < job.durationMs) {
      const range = ranges[next % ranges.length];
      next += 1;
      const sentAt = performance.now();
      const answer = await client?.send(
        new GetObjectCommand({
          Bucket: bucket,
          Key: range?.key,
          Range: `bytes=${range?.from}-${(range?.to ?? 0) - 1}`,
        }),
      );
      const body = /** @type {AsyncIterable<Uint8Array>} */ (answer?.Body);
      for await (const part of body) bytes += part.length;
      histogram.record((performance.now() - sentAt) * 1000);
    }
  };
  await Promise.all(Array.from({ length: job.concurrency }, (_, lane) => readLane(lane)));
  return {
    megabytesPerSecond: bytes / 1000 / (performance.now() - from),
    bytes,
    p50Micros: histogram.percentile(0.5),
    p90Micros: histogram.percentile(0.9),
    p99Micros: histogram.percentile(0.99),
    p999Micros: histogram.percentile(0.999),
    wrongPasses: 0,
    refused: {},
    generator: endCpu(),
  };
}

process.on("message", (/** @type {DirectJob} */ job) => {
  (job.kind === "open" ? open(job) : read(job)).then(
    (result) => process.send?.({ id: job.id, result }),
    (error) => process.send?.({ id: job.id, error: error instanceof Error ? error.message : String(error) }),
  );
});
process.on("disconnect", () => process.exit(0));
