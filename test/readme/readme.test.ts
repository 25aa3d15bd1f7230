import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { DurableStreamTestServer } from "@durable-streams/server";
import { expect, test } from "vitest";
import { SETTINGS } from "../../packages/server/src/settings.ts";
import { startServer } from "../process/coldbrook.ts";
import { within } from "../process/until.ts";

const ROOT: string = fileURLToPath(new URL("../..", import.meta.url));
const readme = await readFile(path.join(ROOT, "README.md"), "utf8");

const SHOWN_HOST = "127.0.0.1:4437";
/** Defaults that follow from other settings. */
const DERIVED: Readonly<Record<string, string>> = {
  store: "file:<data-dir>/objects",
  "public-url": "the listening one",
};
/** Printed between two blocks; no output holds it. */
const SEPARATOR = "\u001E";
const SESSION_BOUND_MS = 60_000;

/** The text between a heading of second order and the next. @throws Error when there is none. */
function section(heading: string): string {
  const text = readme.split(/^## /m).find((part) => part.startsWith(`${heading}\n`));
  if (text === undefined) throw new Error(`README.md has no section "${heading}"`);
  return text;
}

interface Fence {
  readonly language: string;
  readonly text: string;
}

function fences(text: string): readonly Fence[] {
  return [...text.matchAll(/^```(\w+)\n([^]*?)^```$/gm)].map((match) => ({ language: match[1]!, text: match[2]! }));
}

interface Step {
  readonly commands: string;
  readonly shown: string;
}

/** Each block of commands with the output that follows it. */
function steps(blocks: readonly Fence[]): readonly Step[] {
  return blocks.flatMap((block, index) => {
    const next = blocks[index + 1];
    return block.language === "sh" ? [{ commands: block.text, shown: next?.language === "text" ? next.text : "" }] : [];
  });
}

/** Standard output and standard error of a script that bash reads as if it were typed. */
async function paste(script: string): Promise<string> {
  const bash = spawn("bash", ["--noprofile", "--norc"], { stdio: ["pipe", "pipe", "pipe"] });
  let output = "";
  for (const stream of [bash.stdout, bash.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output += text));
  }
  bash.stdin.end(script);
  try {
    await within("the README's session", SESSION_BOUND_MS, once(bash, "close"));
  } finally {
    bash.kill("SIGKILL");
  }
  return output;
}

function tableRows(text: string): readonly (readonly string[])[] {
  const rows = text.split("\n").filter((line) => line.startsWith("| `--"));
  return rows.map((line) =>
    line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim().replaceAll("\\|", "|").replaceAll("`", "")),
  );
}

/** What a section's blocks print when they are pasted one after the other, with the server in place of the one shown. */
async function pasted(blocks: readonly Step[], url: string): Promise<string[]> {
  const { host } = new URL(url);
  const script = blocks.map(({ commands }) => `${commands}printf '${SEPARATOR}'\n`).join("");
  const output = await paste(script.replaceAll(SHOWN_HOST, host));
  return output
    .replaceAll(host, SHOWN_HOST)
    .split(SEPARATOR)
    .slice(0, -1)
    .map((text) => text.trim());
}

/** Offsets are the server's own, and another one need not repeat that a closed stream is read to its end. */
function anyServers(text: string): string {
  return text.replaceAll(/\d{16}_\d{16}/g, "<offset>").replaceAll('"upToDate":true,', "");
}

/** Runs `work` on a server that was just started, which must end cleanly. */
async function onFreshServer(work: (url: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(path.join(tmpdir(), "coldbrook-readme-"));
  try {
    await using server = await startServer({ args: ["--data-dir", directory] });
    await work(server.url);
    expect(await server.stop()).toBe(0);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

test("the curl session, pasted, gives what the README shows", async () => {
  const session = steps(fences(section("A session with curl")));
  expect(session.length).toBeGreaterThanOrEqual(6);
  await onFreshServer(async (url) => {
    expect(await pasted(session, url)).toEqual(session.map(({ shown }) => shown.trim()));
  });
});

test("the curl session works on the reference server as well", async () => {
  const session = steps(fences(section("A session with curl")));
  const reference = new DurableStreamTestServer({ port: 0 });
  const got = await pasted(session, await reference.start());
  await reference.stop();
  expect(got.map(anyServers)).toEqual(session.map(({ shown }) => anyServers(shown.trim())));
});

test("the session of docs/subscriptions.md, pasted, gives what is shown there", async () => {
  const text = await readFile(path.join(ROOT, "docs/subscriptions.md"), "utf8");
  const session = steps(fences(text.split(/^## /m).find((part) => part.startsWith("Pull-wake"))!));
  expect(session.length).toBeGreaterThanOrEqual(4);
  await onFreshServer(async (url) => {
    expect(await pasted(session, url)).toEqual(session.map(({ shown }) => shown.trim()));
  });
});

test("the commands for streams, pasted, print what was written", async () => {
  const blocks = steps(fences(section("From the shell, and inside of a program")));
  await onFreshServer(async (url) => {
    const commands = blocks.map((block) =>
      block.commands.replace("alias coldbrook='", "coldbrook() { ").replace(/'$/m, ' "$@"; }'),
    );
    const script = [`export STREAM_URL=${url}/v1/stream`, `cd ${ROOT}`, ...commands].join("\n");
    expect(await paste(`${script}\n`)).toContain("Hello, world!");
  });
});

test("the table of settings is the server's own", () => {
  const expected = Object.values(SETTINGS).map((row) => [
    `--${row.flag}`,
    row.environment,
    row.fallback === "" ? DERIVED[row.flag] : row.fallback,
    row.meaning,
  ]);
  expect(tableRows(section("Settings"))).toEqual(expected);
});

test("CI runs the README's commands and no others", async () => {
  const ci = await readFile(path.join(ROOT, ".ci/run"), "utf8");
  const run = [...ci.matchAll(/^\s*(npx .*?)(?: \|\|.*)?$/gm)].map((match) => match[1]!);
  const shown = fences(readme).filter(({ language }) => language === "sh");
  const documented = new Set(shown.flatMap(({ text }) => text.trim().split("\n")));
  expect(run).toHaveLength(2);
  expect(run.filter((command) => !documented.has(command))).toEqual([]);
});

test("every file that a README links to is there", async () => {
  for (const file of [
    "README.md",
    "test/README.md",
    ...["core", "tiering", "server"].map((name) => `packages/${name}/README.md`),
  ]) {
    const text = await readFile(path.join(ROOT, file), "utf8");
    for (const [, target] of text.matchAll(/\]\((?!https?:)([^)#]+)\)/g)) {
      const linked = path.resolve(ROOT, path.dirname(file), target!);
      await expect(
        readFile(linked).then(() => linked),
        `${file} links to ${target}`,
      ).resolves.toBe(linked);
    }
  }
});
