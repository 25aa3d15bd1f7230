import { DurableStreamTestServer } from "@durable-streams/server";
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { runBenchmarks, type BenchResult, type Figure } from "./index.js";

const RUN = fileURLToPath(new URL("run.js", import.meta.url));
/** No figure of so short a run means anything; that each is there, and is a number, does. */
const TINY = { rounds: 1, roundMs: 100 };

test("a run of one case writes its figures, every goal and a chart", async () => {
  const directory = await mkdtemp(join(tmpdir(), "coldbrook-bench-test-"));
  try {
    const [json, svg] = [join(directory, "result.json"), join(directory, "chart.svg")];
    const sizes = ["--streams", "20", "--connections", "1", "--rounds", "1", "--round-ms", "100"];
    const options = ["--case", "appends", ...sizes, "--json", json, "--svg", svg, "--environment", "a test"];
    // A goal that is missed is an exit code of 1, and no matter here.
    const { stdout, code } = await run(options);
    expect(code, stdout).toBeLessThan(2);
    const result = JSON.parse(await readFile(json, "utf8")) as BenchResult;
    expect(result).toMatchObject({ schema: 1, url: null, failures: [], settings: { cases: ["appends"], rounds: 1 } });
    expect(result.environment).toMatchObject({ name: "a test", node: process.version, peers: {} });
    const alone = result.figures.filter(({ key }) => key === "appends/1/1");
    expect(alone.map(({ server }) => server)).toStrictEqual([
      "bare",
      "bare, one sync for all",
      "bare, sync each",
      "bare, sync each, async",
      "coldbrook",
    ]);
    for (const figure of result.figures) expectFigure(figure);
    const judged = Object.fromEntries(result.goals.map(({ id, verdict }) => [id, verdict]));
    expect(judged["single-writer"]).toMatch(/^(pass|miss)$/);
    expect(judged["memory-slope"]).toBe("not measured");
    expect(stdout).toContain("single writer, p50");
    expect(await readFile(svg, "utf8")).toMatch(/^<svg [\s\S]*<polyline [\s\S]*coldbrook[\s\S]*<\/svg>\n$/);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("any server of the protocol can be measured by its URL", async () => {
  const reference = new DurableStreamTestServer({ host: "127.0.0.1", port: 0 });
  const baseUrl = await reference.start();
  try {
    const cases = ["appends", "round-trip", "hot", "fan-out"];
    const small = { cases, streams: 5, connections: [2], subscribers: 3, streamBytes: 256 * 1024 };
    const report = await runBenchmarks({ baseUrl, environment: "reference", ...small, ...TINY });
    expect(report).toMatchObject({ environment: "reference", baseUrl, detail: { failures: [], goals: [] } });
    expect(Object.keys(report.results).toSorted()).toStrictEqual([
      "appends/2/1",
      "appends/2/5",
      "fan-out",
      "hot",
      "round-trip",
      "round-trip/ping",
    ]);
    for (const { p50, min, max, iterations } of Object.values(report.results)) {
      expect(iterations).toBe(1);
      expect(p50).toBeGreaterThan(0);
      expect([min, max]).toStrictEqual([p50, p50]);
    }
    for (const figure of report.detail.figures) expectFigure(figure);
  } finally {
    await reference.stop();
  }
});

test("a base URL that is not one is refused with its option", async () => {
  await expect(runBenchmarks({ baseUrl: "ftp://example.org" })).rejects.toThrow("--url ftp://example.org");
});

function expectFigure(figure: Figure): void {
  expect(figure, figure.key).toMatchObject({
    key: expect.stringMatching(/^[a-z0-9/-]+$/) as string,
    measure: expect.stringMatching(/./) as string,
    server: expect.stringMatching(/./) as string,
    unit: expect.stringMatching(/./) as string,
    better: expect.stringMatching(/^(more|less)$/) as string,
    value: expect.any(Number) as number,
    generatorCpuShare: expect.any(Number) as number,
  });
  expect(figure.rounds.every(Number.isFinite), figure.key).toBe(true);
  if (figure.latencyMicros === null) return;
  const { p50, p90, p99, p999 } = figure.latencyMicros;
  expect([p50, p90, p99, p999].toSorted((left, right) => left - right)).toStrictEqual([p50, p90, p99, p999]);
}

async function run(options: readonly string[]): Promise<{ stdout: string; code: number }> {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [RUN, ...options]);
    return { stdout, code: 0 };
  } catch (error) {
    const { stdout, stderr, code } = error as { stdout: string; stderr: string; code: number };
    return { stdout: stdout + stderr, code };
  }
}
