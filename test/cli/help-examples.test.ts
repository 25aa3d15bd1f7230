/** Every command's example, as its help shows it, in one session on each server. */
import { describe, expect, test } from "vitest";
import { COMMANDS } from "../../packages/server/src/cli/client/commands.ts";
import { SERVERS } from "./servers.ts";
import { Shell } from "./shell.ts";

interface Step {
  /** The name of the command whose example is run. */
  readonly name: string;
  /** What must be there before. */
  readonly before?: string;
  readonly prints: RegExp;
  /** Run afterwards; prints what it must. */
  readonly after?: readonly [line: string, prints: RegExp];
}

const STEPS: readonly Step[] = [
  { name: "create", prints: /^Stream created successfully: "events"\n {2}URL: http\S+\/events\n$/ },
  { name: "write", prints: /^Wrote 1 JSON message to stream "events"\n$/ },
  { name: "read", prints: /^\{"event":\s?"user.created"\}\n$/ },
  { name: "head", prints: /^content-type: application\/json\noffset: \d{16}_\d{16}\nclosed: false\n/ },
  {
    name: "fork",
    prints: /^Forked "events" to "events-copy"\n/,
    after: ["coldbrook read events-copy --json", /^\{"event":\s?"user.created"\}\n$/],
  },
  { name: "close", prints: /^Stream closed: "events" at offset \d{16}_\d{16}\n$/ },
  { name: "delete", prints: /^Stream deleted successfully: "events"\n$/ },
  {
    name: "sub create",
    before: "coldbrook create wake-pool --json && coldbrook create jobs/1 --json",
    prints: /^Subscription created: "workers"\n$/,
  },
  { name: "sub get", prints: /"wake_stream": "wake-pool"/ },
  {
    name: "sub claim",
    before: `coldbrook write jobs/1 '{"n": 1}' --json`,
    prints: /^$/,
    after: ["cat claim.json", /"has_pending": true/],
  },
  { name: "sub ack", prints: /"ok": true,\n {2}"next_wake": false/ },
  {
    name: "sub release",
    before: `coldbrook write jobs/1 '{"n": 2}' --json && coldbrook sub claim workers --worker w > claim.json`,
    prints: /^Claim released: "workers"\n$/,
    after: ["coldbrook sub ack workers --claim claim.json --all --done; echo $?", /^4\n$/],
  },
  { name: "sub delete", prints: /^Subscription deleted: "workers"\n$/ },
  {
    name: "completion",
    prints: /^$/,
    after: ["source coldbrook-completion.bash && complete -p coldbrook durable-stream", /_coldbrook/],
  },
];

test("the session has every command", () => {
  expect(STEPS.map(({ name }) => name).sort()).toEqual(COMMANDS.map(({ name }) => name).sort());
});

describe.each(SERVERS)("on $name", (kind) => {
  test("every example works as it is shown", async () => {
    await using server = await kind.start();
    await using shell = await Shell.open({ STREAM_URL: server.url });
    for (const { name, before, prints, after } of STEPS) {
      if (before !== undefined) expect((await shell.run(before)).code, before).toBe(0);
      const { example } = COMMANDS.find((spec) => spec.name === name)!;
      const { code, stdout, stderr } = await shell.run(`coldbrook ${example}`);
      expect({ code, stderr }, example).toEqual({ code: 0, stderr: "" });
      expect(stdout, example).toMatch(prints);
      if (after !== undefined) expect((await shell.run(after[0])).stdout, after[0]).toMatch(after[1]);
    }
  });
});
