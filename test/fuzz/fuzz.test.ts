import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

/** All that a fuzzer prints, and its exit code. */
async function fuzz(script: string, args: readonly string[]): Promise<{ code: number | null; output: string }> {
  const file = fileURLToPath(new URL(script, import.meta.url));
  const child = spawn(process.execPath, [file, ...args], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output = (output + text).slice(-20_000)));
  }
  const [code] = (await once(child, "close")) as [number | null];
  return { code, output };
}

/** The same requests each time; FUZZ_SEED asks for others. */
const seed = process.env["FUZZ_SEED"] ?? "1";

test("malformed requests are refused, change nothing, and leave the server as it was", async () => {
  const { code, output } = await fuzz("http.js", ["--requests", "60000", "--time-budget", "20", "--seed", seed]);
  expect(code, output).toBe(0);
});

test("the reference server answers alike, but where it is known not to", async () => {
  const { code, output } = await fuzz("differential.js", ["--runs", "400", "--time-budget", "12", "--seed", seed]);
  expect(code, output).toBe(0);
});
