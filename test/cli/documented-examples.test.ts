/** The commands that the protocol's own documentation of its command line shows, pasted. */
import { spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { SERVERS } from "./servers.ts";
import { Shell } from "./shell.ts";

const hasJq = spawnSync("jq", ["--version"]).status === 0;

/** A line as documented, and what it prints. */
type Example = readonly [line: string, prints: RegExp];

const CREATED = /^Stream created successfully: "[^"]+"\n {2}URL: /;
const WROTE_BYTES = /^Wrote \d+ bytes to stream "my-stream"\n$/;
const WROTE_JSON = /^Wrote 1 JSON message to stream "\w+"\n$/;

const BEFORE_READING: readonly Example[] = [
  ["durable-stream create my-stream", CREATED],
  ["durable-stream create account-123/chat/room-1", CREATED],
  ["durable-stream create events --json", CREATED],
  ["durable-stream create logs --content-type text/plain", CREATED],
  ["durable-stream create --json sessions/abc", CREATED],
  ['durable-stream write my-stream "Hello, world!"', WROTE_BYTES],
  ['echo "Hello from stdin" | durable-stream write my-stream', WROTE_BYTES],
  ["cat file.txt | durable-stream write my-stream", WROTE_BYTES],
  [`durable-stream write events '{"event": "user.created"}' --json`, WROTE_JSON],
  [`durable-stream write events '{"key": "value"}' --content-type application/json`, WROTE_JSON],
  [`durable-stream write events '[{"a": 1}, {"a": 2}]' --batch-json`, /^Wrote 2 messages to stream "events"\n$/],
  [`durable-stream write events '[[{}, {}]]' --batch-json`, /^Wrote 1 message to stream "events"\n$/],
  [`durable-stream write events '[3, 4]' --json`, WROTE_JSON],
  ["durable-stream --help", /^Usage: durable-stream /],
  ["durable-stream -h", /^Usage: durable-stream /],
];

/** Reading follows, so each ends by the close that comes first. */
const READING: readonly Example[] = [
  ["durable-stream read my-stream", /^Hello, world!Hello from stdin\nof a file\n$/],
  ["durable-stream read my-stream > output.txt && cat output.txt", /^Hello, world!Hello from stdin\nof a file\n$/],
  ['export STREAM_AUTH="Bearer my-token"; durable-stream read my-stream', /^Hello, world!/],
  ['durable-stream --auth "Bearer my-token" read my-stream', /^Hello, world!/],
  ['durable-stream --auth "Basic dXNlcjpwYXNz" read my-stream', /^Hello, world!/],
  ['durable-stream --auth "ApiKey abc123" read my-stream', /^Hello, world!/],
  ["durable-stream read events --json | tail -n 4", /^\{"a":1\}\n\{"a":2\}\n\[\{\},\{\}\]\n\[3,4\]\n$/],
  ...(hasJq ? ([["durable-stream read events | jq .", /"event": "user.created"/]] as const) : []),
  ["durable-stream delete my-stream", /^Stream deleted successfully: "my-stream"\n$/],
];

/** The workflow with its two terminals in one script. */
const WORKFLOW = `
durable-stream create chat --json
durable-stream read chat > followed.txt &
reader=$!
durable-stream write chat '{"user": "alice", "text": "Hello!"}' --json
durable-stream write chat '{"user": "bob", "text": "Hi there!"}' --json
echo '{"user": "alice", "text": "How are you?"}' | durable-stream write chat --json
until grep -q "How are you" followed.txt; do sleep 0.05; done
kill -INT $reader; wait $reader; echo "reader ended with $?"
durable-stream delete chat
`;

async function paste(shell: Shell, examples: readonly Example[]): Promise<void> {
  for (const [line, prints] of examples) {
    const { code, stdout, stderr } = await shell.run(line);
    expect({ code, stderr }, line).toEqual({ code: 0, stderr: "" });
    expect(stdout, line).toMatch(prints);
  }
}

describe.each(SERVERS)("on $name", (kind) => {
  test("every documented command works", async () => {
    await using server = await kind.start();
    await using shell = await Shell.open({ STREAM_URL: server.url });
    await writeFile(path.join(shell.directory, "file.txt"), "of a file\n");
    await paste(shell, BEFORE_READING);
    expect((await shell.run("coldbrook close my-stream && coldbrook close events")).code).toBe(0);
    await paste(shell, READING);
  });

  test("the documented workflow works, and --url wins over the variable", async () => {
    await using server = await kind.start();
    await using shell = await Shell.open({ STREAM_URL: server.url });
    const { stdout, stderr } = await shell.run(WORKFLOW);
    expect(stderr).toBe("");
    expect(stdout).toContain("reader ended with 130\n");
    expect(stdout).toMatch(/Stream deleted successfully: "chat"\n$/);
    const { code } = await shell.run(`STREAM_URL=http://127.0.0.1:9 durable-stream create x --url ${server.url}/`);
    expect(code).toBe(0);
  });
});
