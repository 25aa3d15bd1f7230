import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { applyBound } from "./bounds.ts";
import { importEarly } from "./early-imports.ts";
import { applyPatch } from "./planted/patch.ts";
import { PATCHES } from "./planted/patches.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const RUN = fileURLToPath(new URL("./dist/simulation/run.js", import.meta.url));

function simulate(...options: string[]): { status: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [RUN, ...options], { encoding: "utf8" });
  return { status, text: stdout + stderr };
}

beforeAll(() => {
  execFileSync(process.execPath, [`${ROOT}node_modules/typescript/bin/tsc`, "-b", `${ROOT}test/simulation`]);
}, 120_000);

describe("the simulation", () => {
  test("breaks no promise in 300 seeds", { timeout: 600_000 }, () => {
    const { status, text } = simulate("--seeds", "300");
    expect(text).toContain("0 violations");
    // Crashes that meet no write under way prove little.
    expect(Number(/ambiguous +(\d+)/.exec(text)?.[1])).toBeGreaterThan(150);
    expect(status).toBe(0);
  });

  test("does the same when a seed is run again, alone and after others", { timeout: 120_000 }, () => {
    const traces = simulate("--seeds", "40", "--workers", "1", "--traces").text.match(/seed \d+: trace \w+/g);
    expect(traces).toHaveLength(40);
    for (const trace of traces!.filter((_, i) => i % 10 === 9)) {
      expect(simulate("--seed", /\d+/.exec(trace)![0]).text).toContain(trace);
    }
  });

  test("finds a planted bug, and shows the shortest plan that does", { timeout: 300_000 }, () => {
    const { status, text } = simulate("--seeds", "2000", "--plant", "ack-before-sync");
    expect(status).toBe(1);
    expect(text).toContain("the shortest plan that still does");
  });
});

describe("the planted bugs", () => {
  test("each find their place in the build exactly once", () => {
    for (const patch of PATCHES) {
      const text = readFileSync(`${ROOT}packages/${patch.file}`, "utf8");
      expect(applyPatch(patch, text)).not.toBe(text);
    }
  });

  test("are the ones that the README lists", () => {
    const text = readFileSync(new URL("./README.md", import.meta.url), "utf8");
    const rows = text.match(/^\| `[a-z0-9-]+` +\|.*\| +(?:> )?\d+ +\|.*\|$/gm) ?? [];
    expect(rows.map((row) => /`([^`]+)`/.exec(row)![1])).toEqual(PATCHES.map(({ name }) => name));
  });
});

describe("a change of the server's text", () => {
  const patch = { name: "p", breaks: "", file: "a.js", find: "x", replace: "y" };

  test("must find its place exactly once", () => {
    expect(applyPatch(patch, "1 x 2")).toBe("1 y 2");
    expect(() => applyPatch(patch, "1 2")).toThrow("0 places");
    expect(() => applyPatch(patch, "x x")).toThrow("2 places");
  });

  test("loads early what is loaded late, or says that it cannot", () => {
    const late = 'async function f() {\n    const { A } = await import("./a.js");\n}';
    expect(importEarly("f.js", late)).toBe(
      'import { A } from "./a.js";\nasync function f() {\n    await undefined;\n}',
    );
    expect(importEarly("f.js", "const a = 1;")).toBe("const a = 1;");
    expect(() => importEarly("f.js", 'void import("./a.js");')).toThrow("f.js loads a module late");
  });

  test("sets a bound that is set exactly once", () => {
    const bound = { file: "a.js", name: "MAX", value: 3 };
    expect(applyBound(bound, "const MAX = 64 * 1024;\nconst MAXIMUM = 1;")).toBe("const MAX = 3;\nconst MAXIMUM = 1;");
    expect(() => applyBound(bound, "const MIN = 1;")).toThrow("0 times");
  });
});
