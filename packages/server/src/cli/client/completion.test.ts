import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { COMMANDS } from "./commands.ts";
import { completionScript } from "./completion.ts";

const script = completionScript("bash", COMMANDS);
const hasBash = spawnSync("bash", ["--version"]).status === 0;

/** What bash offers for the last of the words. */
function offered(...words: readonly string[]): readonly string[] {
  const typed = words.map((word) => `'${word}'`).join(" ");
  const input = `${script}\nCOMP_WORDS=(coldbrook ${typed})\nCOMP_CWORD=${words.length}\n_coldbrook\nprintf '%s\\n' "\${COMPREPLY[@]}"\n`;
  const { stdout, stderr, status } = spawnSync("bash", ["--noprofile", "--norc"], { input, encoding: "utf8" });
  expect([status, stderr]).toEqual([0, ""]);
  return stdout.split("\n").filter((line) => line !== "");
}

describe.runIf(hasBash)("bash completes", () => {
  test.each([
    [["cr"], ["create"]],
    [["c"], ["check", "create", "close", "completion"]],
    [
      ["sub", "c"],
      ["create", "claim"],
    ],
    [
      ["read", "a", "--live", ""],
      ["long-poll", "sse"],
    ],
    [["read", "a", "--fo"], ["--follow"]],
    [["--url", "http://h", "wri"], ["write"]],
    [["sub", "ack", "--cl"], ["--claim"]],
    [["completion", "f"], ["fish"]],
    [
      ["serve", "--seg"],
      ["--segment-bytes", "--segment-age-ms"],
    ],
    [["--ti"], ["--timeout"]],
    [["write", "a"], []],
  ])("%j with %j", (words, expected) => {
    expect(offered(...words)).toEqual(expected);
  });
});

test("every command and option is in each script", () => {
  const fish = completionScript("fish", COMMANDS);
  expect(completionScript("zsh", COMMANDS)).toMatch(/^#compdef coldbrook durable-stream\n/);
  for (const { name, options } of COMMANDS) {
    expect(fish).toContain(`-a ${name.split(" ").at(-1)} `);
    for (const { flags } of options) {
      expect(script).toContain(flags.split(" ")[0]);
      expect(fish).toContain(`-l ${flags.split(" ")[0]!.slice(2)} `);
    }
  }
});
