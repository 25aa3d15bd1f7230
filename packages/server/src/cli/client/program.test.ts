import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { PassThrough, Readable } from "node:stream";
import { describe, expect, test } from "vitest";
import { COMMANDS } from "./commands.ts";
import { runProgram } from "./program.ts";

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

type Answer = (seen: Seen, response: ServerResponse, count: number) => void;

/** A server that plays its part, and all that it was asked. */
async function play(answer: Answer): Promise<{ url: string; seen: Seen[] } & AsyncDisposable> {
  const seen: Seen[] = [];
  const server = createServer((request: IncomingMessage, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      const one = { method, url, headers, body: Buffer.concat(parts).toString() };
      seen.push(one);
      answer(one, response, seen.length);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(
  args: readonly string[],
  options: { stdin?: Readable; environment?: Record<string, string>; interrupted?: Promise<void>; tty?: boolean } = {},
): Promise<Outcome> {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const stdin = options.stdin ?? Object.assign(Readable.from([]), { isTTY: true });
  const code = await runProgram("coldbrook", args, {
    stdin,
    stdout,
    stderr,
    environment: options.environment ?? {},
    interrupted: options.interrupted ?? new Promise(() => undefined),
  });
  // How much one read gives differs between versions of Node.
  const text = (stream: PassThrough): string => {
    const parts: Buffer[] = [];
    for (let part: unknown = stream.read(); part !== null; part = stream.read()) parts.push(part as Buffer);
    return Buffer.concat(parts).toString();
  };
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

const fixed =
  (status: number, headers: Record<string, string> = {}, body = ""): Answer =>
  (_, response) =>
    void response.writeHead(status, headers).end(body);

describe("the command line", () => {
  test.each([
    [["frob"]],
    [["write"]],
    [["read", "a", "b"]],
    [["read", "a", "--live", "carrier-pigeon"]],
    [["create", "a", "--bogus"]],
    [["create", "a", "--ttl", "soon"]],
    [["create", "a", "--ttl", "1", "--expires-at", "2030-01-01T00:00:00Z"]],
    [["create", "../a"]],
    [["write", "a", "x", "--producer-epoch", "1"]],
    [["write", "a", "x", "--input", "f"]],
    [["write", "a", "{bad", "--json"]],
    [["write", "a", "[1][2]", "--batch-json"]],
    [["read", "a", "--offset="]],
    [["head", "a", "--url", "nowhere"]],
    [["sub"]],
    [["sub", "create", "s", "--pattern", "*"]],
    [["sub", "ack", "s"]],
    [["completion", "tcsh"]],
  ])("%j is a usage error in one line", async (args) => {
    const { code, stderr } = await run(["--url", "http://127.0.0.1:9", ...args]);
    expect(stderr).toMatch(/^coldbrook[^\n]*: [^\n]+\n$/);
    expect(code).toBe(2);
  });

  test("the version is that of the package", async () => {
    const { code, stdout, stderr } = await run(["--version"]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  test("every command has help with its example", async () => {
    for (const spec of COMMANDS) {
      const { code, stdout, stderr } = await run([...spec.name.split(" "), "--help"]);
      expect([code, stderr]).toEqual([0, ""]);
      expect(stdout).toContain(`Example:\n  coldbrook ${spec.example}\n`);
    }
  });

  test("global options go before and after the command, and flags before the path", async () => {
    await using server = await play(fixed(201));
    await run(["--url", server.url, "create", "--json", "sessions/abc", "--auth", "Bearer t", "--header", "X-A: 1"]);
    await run(["create", "logs", "--content-type=text/plain", `--url=${server.url}`]);
    expect(
      server.seen.map(({ method, url, headers }) => [method, url, headers["content-type"], headers["x-a"]]),
    ).toEqual([
      ["PUT", "/sessions/abc", "application/json", "1"],
      ["PUT", "/logs", "text/plain", undefined],
    ]);
    expect(server.seen[0]!.headers["authorization"]).toBe("Bearer t");
  });
});

describe("exit codes", () => {
  test.each([
    [400, {}, 2],
    [401, {}, 5],
    [403, {}, 5],
    [403, { "producer-epoch": "3" }, 4],
    [404, {}, 3],
    [409, { "stream-closed": "true" }, 4],
    [409, {}, 4],
    [410, {}, 3],
    [413, {}, 2],
    [302, { location: "http://elsewhere/" }, 6],
    [500, {}, 6],
    [501, {}, 6],
  ])("an answer of %i %j to a write is %i", async (status, headers, expected) => {
    await using server = await play(fixed(status, headers, "why"));
    const { code, stderr } = await run(
      ["write", "a", "x", "--json", "--url", server.url].with(3, "--content-type=a/b"),
    );
    expect(code).toBe(expected);
    expect(stderr).toMatch(/^coldbrook write "a": [^\n]+\n$/);
    expect(server.seen).toHaveLength(1);
  });

  test("a server that is not there is 6, one that never answers 7", async () => {
    const gone = await play(fixed(200));
    await gone[Symbol.asyncDispose]();
    expect(await run(["head", "a", "--url", gone.url])).toMatchObject({ code: 6 });
    await using silent = await play(() => undefined);
    const { code, stderr } = await run(["head", "a", "--url", silent.url, "--timeout", "0.05"]);
    expect(code).toBe(7);
    expect(stderr).toContain("did not answer for 0.05 s");
  });

  test("a body that stops in the middle is 7", async () => {
    await using server = await play((_, response) => {
      response.writeHead(200, { "content-length": "10", "stream-next-offset": "1" }).write("abc");
    });
    expect(await run(["read", "a", "--url", server.url, "--timeout", "0.05"])).toMatchObject({
      code: 7,
      stdout: "abc",
    });
  });

  test("a file that is not there is 1", async () => {
    expect(await run(["write", "a", "--content-type", "a/b", "--input", "/nowhere/at/all"])).toMatchObject({ code: 1 });
  });

  test("an interrupted read is 130 and says nothing", async () => {
    await using server = await play((seen, response) => {
      if (!seen.url.includes("live="))
        fixed(200, { "stream-up-to-date": "true", "stream-next-offset": "1" })(seen, response, 0);
    });
    const interrupted = new Promise<void>((resolve) => {
      const check = setInterval(() => {
        if (!server.seen.some(({ url }) => url.includes("live="))) return;
        clearInterval(check);
        resolve();
      }, 1);
    });
    expect(await run(["read", "a", "--follow", "--url", server.url], { interrupted })).toEqual({
      code: 130,
      stdout: "",
      stderr: "",
    });
  });
});

describe("secrets", () => {
  test("what a server repeats of the credentials is not printed", async () => {
    await using server = await play(
      (seen, response) => void response.writeHead(401).end(`bad ${String(seen.headers["authorization"])}`),
    );
    const { stderr } = await run(["head", "a", "--url", server.url], {
      environment: { STREAM_AUTH: "Bearer tell-nobody" },
    });
    expect(stderr).not.toContain("tell-nobody");
    const { stderr: other } = await run(["delete", "a", "--auth", "Basic tell-nobody", "--url", server.url]);
    expect(other).toContain("***");
    expect(other).not.toContain("tell-nobody");
  });

  test("what a server says cannot write on the terminal", async () => {
    await using server = await play(fixed(400, {}, "bad\u001B[2J\nworse"));
    const { stderr } = await run(["delete", "a", "--url", server.url]);
    expect(stderr).toContain("bad [2J worse");
  });
});

describe("what is written", () => {
  const bodies = async (args: readonly string[], stdin?: Readable): Promise<string[]> => {
    await using server = await play(fixed(204));
    const { code, stderr } = await run(
      ["write", "a", "--url", server.url, ...args],
      stdin === undefined ? {} : { stdin },
    );
    expect([code, stderr]).toEqual([0, ""]);
    return server.seen.map(({ body }) => body);
  };

  test.each([
    [["--json", '{"n": 12345678901234567890}'], ['[{"n": 12345678901234567890}]']],
    [["--json", "[1, 2]"], ["[[1, 2]]"]],
    [["--json", '{"s": "a\\nb"}'], ['[{"s": "a\\nb"}]']],
    [["--batch-json", "[1,\\n2]"], ["[1,2]"]],
    [["--batch-json", '[{"a": 1}, {"a": 2}]'], ['[{"a":1},{"a":2}]']],
    [["--batch-json", "[[{}, {}]]"], ["[[{},{}]]"]],
    [["--batch-json", "{}"], ["[{}]"]],
    [["--batch-json", "[]"], []],
    [["--content-type=a/b", "two", "words\\t\\\\n"], ["two words\t\\n"]],
    [["--content-type=a/b", "--raw", "a\\n"], ["a\\n"]],
  ])("%j is sent as %j", async (args, expected) => {
    expect(await bodies(args)).toEqual(expected);
  });

  test("standard input goes out in bounded pieces", async () => {
    const piece = Buffer.alloc(700 * 1024, "x");
    const sent = await bodies(["--content-type=a/b", "--producer-id", "p"], Readable.from([piece, piece, piece]));
    expect(sent.map((body) => body.length)).toEqual([1024 * 1024, 1024 * 1024, 52 * 1024]);
  });

  test("empty standard input is a usage error", async () => {
    await using server = await play(fixed(204));
    const { code, stderr } = await run(["write", "a", "--content-type=a/b", "--url", server.url], {
      stdin: Readable.from([]),
    });
    expect(code).toBe(2);
    expect(stderr).toContain("standard input is empty");
  });

  test("a producer's write is repeated after a broken connection with the same sequence", async () => {
    await using server = await play((seen, response, count) => {
      if (count === 1) response.destroy();
      else fixed(200, { "stream-next-offset": "1" })(seen, response, count);
    });
    expect(
      await run(["write", "a", "x", "--content-type=a/b", "--producer-id", "p", "--url", server.url]),
    ).toMatchObject({ code: 0 });
    expect(server.seen.map(({ headers }) => headers["producer-seq"])).toEqual(["0", "0"]);
  });

  test("a plain write is not repeated when it may have arrived", async () => {
    await using server = await play((_, response) => response.destroy());
    const { code, stderr } = await run(["write", "a", "x", "--content-type=a/b", "--url", server.url]);
    expect(code).toBe(6);
    expect(stderr).toContain("may have been carried out");
    expect(server.seen).toHaveLength(1);
  });

  test("a busy server is asked again", async () => {
    await using server = await play((seen, response, count) => fixed(count === 1 ? 503 : 204)(seen, response, count));
    expect(await run(["write", "a", "x", "--content-type=a/b", "--url", server.url])).toMatchObject({ code: 0 });
    expect(server.seen).toHaveLength(2);
  });

  test("a producer's conflict ends the command instead of being asked for ever", async () => {
    await using server = await play((seen, response, count) => fixed(count < 2 ? 200 : 409)(seen, response, count));
    const content = Buffer.alloc(1024 * 1024 + 1, "x");
    const { code } = await run(["write", "a", "--content-type=a/b", "--producer-id", "p", "--url", server.url], {
      stdin: Readable.from([content]),
    });
    expect(code).toBe(4);
    expect(server.seen).toHaveLength(2);
  });

  test("--close sends the last bytes and the close as one", async () => {
    await using server = await play(fixed(204, { "stream-next-offset": "1" }));
    await run(["write", "a", "bye", "--content-type=a/b", "--close", "--url", server.url]);
    expect(server.seen.map(({ body, headers }) => [body, headers["stream-closed"]])).toEqual([["bye", "true"]]);
  });
});

describe("what is read", () => {
  test("all answers up to the tail, a broken one continued where it broke", async () => {
    const content = ["aaaa", "bbbb", "cc"];
    await using server = await play((seen, response, count) => {
      const offset = new URL(seen.url, "http://h").searchParams.get("offset")!;
      const index = offset === "-1" ? 0 : Number(offset);
      const body = content[index]!;
      const isTail = index === content.length - 1;
      response.writeHead(200, {
        "content-length": body.length,
        "stream-next-offset": String(index + 1),
        ...(isTail ? { "stream-up-to-date": "true" } : {}),
      });
      if (count === 2) response.write(body.slice(0, 2), () => response.destroy());
      else response.end(body);
    });
    expect(await run(["read", "a", "--url", server.url])).toEqual({ code: 0, stdout: "aaaabbbbcc", stderr: "" });
    expect(server.seen).toHaveLength(4);
  });

  test("--json prints one message per line, digits kept", async () => {
    const headers = { "stream-up-to-date": "true", "stream-next-offset": "1", "content-type": "application/json" };
    await using server = await play(fixed(200, headers, '[{"n": 12345678901234567890,\n "a": [1]}, "x y"]'));
    const { stdout } = await run(["read", "a", "--json", "--url", server.url]);
    expect(stdout).toBe('{"n":12345678901234567890,"a":[1]}\n"x y"\n');
  });

  test("a server that does not come forward is an error", async () => {
    await using server = await play(fixed(200, { "stream-next-offset": "-1" }, "x"));
    expect(await run(["read", "a", "--url", server.url])).toMatchObject({ code: 6, stdout: "x" });
  });
});
