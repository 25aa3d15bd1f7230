/** Bytes through the command: large, binary, followed, broken off, retried, and seen on a terminal. */
import { spawnSync } from "node:child_process";
import { randomFillSync } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { SERVERS } from "./servers.ts";
import type { RunningServer, ServerKind } from "./servers.ts";
import { Shell } from "./shell.ts";

const BYTES = 5 * 1024 * 1024 + 17;
const hasTerminal = spawnSync("script", ["--version"]).status === 0;

interface Session extends AsyncDisposable {
  readonly server: RunningServer;
  readonly shell: Shell;
  /** `big.bin` in the shell's directory. */
  readonly content: Buffer;
}

async function open(kind: ServerKind): Promise<Session> {
  const server = await kind.start();
  const shell = await Shell.open({ STREAM_URL: server.url });
  const content = randomFillSync(Buffer.alloc(BYTES));
  await writeFile(path.join(shell.directory, "big.bin"), content);
  return {
    server,
    shell,
    content,
    async [Symbol.asyncDispose]() {
      await shell[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

const FOLLOW = `
coldbrook create tail --content-type text/plain > /dev/null
coldbrook read tail --follow --live MODE > followed.txt &
reader=$!
for word in one two three; do coldbrook write tail "$word " > /dev/null; done
coldbrook write tail "end" --close > /dev/null
wait $reader; echo "$? $(cat followed.txt)"
`;

describe.each(SERVERS)("on $name", (kind) => {
  test("binary content comes back as it was, by file, by pipe and by standard output", async () => {
    await using session = await open(kind);
    const { shell, content } = session;
    await shell.run("coldbrook create a && coldbrook create b");
    const write = await shell.run("coldbrook write a --input big.bin && cat big.bin | coldbrook write b");
    expect(write).toEqual({
      code: 0,
      stdout: 'Wrote 5.0 MiB to stream "a"\nWrote 5.0 MiB to stream "b"\n',
      stderr: "",
    });
    expect(await shell.run("coldbrook read a --output a.bin && coldbrook read b > b.bin")).toMatchObject({ code: 0 });
    for (const name of ["a.bin", "b.bin"]) {
      expect(content.equals(await readFile(path.join(shell.directory, name))), name).toBe(true);
    }
  });

  test("a reader that has enough ends the command quietly", async () => {
    await using session = await open(kind);
    const script = `coldbrook create a > /dev/null; coldbrook write a --input big.bin --quiet
coldbrook read a | head -c 10 | wc -c; echo "\${PIPESTATUS[0]}"`;
    expect(await session.shell.run(script)).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^\s*10\n0\n$/),
      stderr: "",
    });
  });

  test.each(["long-poll", "sse"])("following by %s ends at the close", async (mode) => {
    await using session = await open(kind);
    expect(await session.shell.run(FOLLOW.replace("MODE", mode))).toEqual({
      code: 0,
      stdout: "0 one two three end\n",
      stderr: "",
    });
  });

  test("a producer's command run twice stores its content once", async () => {
    await using session = await open(kind);
    const script = `coldbrook create a > /dev/null
coldbrook write a --input big.bin --producer-id p
cat big.bin | coldbrook write a --producer-id p
coldbrook write a more --producer-id p --producer-epoch 1 --close
coldbrook write a more --producer-id p --producer-epoch 1 --close
coldbrook read a | wc -c`;
    const { stdout, stderr } = await session.shell.run(script);
    expect(stderr).toBe("");
    const lines = stdout.split("\n");
    expect(lines.slice(0, 2)).toEqual([
      'Wrote 5.0 MiB to stream "a"',
      'Wrote 5.0 MiB to stream "a" (it was there already)',
    ]);
    expect(Number(lines[4])).toBe(BYTES + 4);
  });

  test("a long JSON array arrives message by message", async () => {
    await using session = await open(kind);
    const values = Array.from({ length: 50_000 }, (_, n) => ({ n, text: `value ${n} ü` }));
    await writeFile(path.join(session.shell.directory, "values.json"), JSON.stringify(values, null, 1));
    const script = `coldbrook create a --json > /dev/null; coldbrook write a --batch-json --input values.json
coldbrook read a --json --output lines.txt`;
    expect(await session.shell.run(script)).toEqual({
      code: 0,
      stdout: 'Wrote 50000 messages to stream "a"\n',
      stderr: "",
    });
    const lines = await readFile(path.join(session.shell.directory, "lines.txt"), "utf8");
    expect(lines).toBe(values.map((value) => `${JSON.stringify(value)}\n`).join(""));
  });

  test.runIf(hasTerminal)("progress is drawn on a terminal, and not with --quiet", async () => {
    await using session = await open(kind);
    const slow = "(head -c 100000 big.bin; sleep 1.5; head -c 100000 big.bin) | coldbrook write a";
    await session.shell.run("coldbrook create a");
    const drawn = await session.shell.run(`script -qec '${slow}' /dev/null < /dev/null`);
    expect(drawn.stdout).toMatch(/writing 97\.7 KiB, [\d.]+ (?:KiB|bytes)\/s/);
    expect(drawn.stdout).toContain('Wrote 195.3 KiB to stream "a"');
    const quiet = await session.shell.run(`script -qec '${slow} --quiet' /dev/null < /dev/null`);
    expect(quiet.stdout).toBe("");
  });
});
