/** What a user gets who installs the packed packages into an empty folder: a program that serves, and a library with types. */
import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startServer } from "../process/coldbrook.ts";

const run = promisify(execFile);
const ROOT = path.resolve(import.meta.dirname, "../..");
const PACKAGES = ["core", "tiering", "server"] as const;
const BIN = path.join(ROOT, "test/node_modules/.bin");
/** Of the types that our declarations name, the ones of the runtime are the user's to have. */
const NODE_TYPES = `@types/node@${createRequire(import.meta.url)("@types/node/package.json").version as string}`;

const PROGRAM = `
import { DurableStreamTestServer } from "@coldbrook/server";
const server: DurableStreamTestServer = new DurableStreamTestServer({ port: 0 });
const url: string = await server.start();
await fetch(url + "/greetings", { method: "PUT", headers: { "content-type": "text/plain" }, body: "hello" });
console.log(await (await fetch(url + "/greetings?offset=-1")).text());
await server.stop();
`;

let folder = "";
let tarballs: string[] = [];

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "coldbrook-pack-"));
  for (const name of PACKAGES) await pnpm(["pack", "--pack-destination", folder], path.join(ROOT, "packages", name));
  const names = (await readdir(folder)).filter((name) => name.endsWith(".tgz"));
  tarballs = PACKAGES.map((name) =>
    path.join(
      folder,
      names.find((file) => file.startsWith(`coldbrook-${name}-`))!,
    ),
  );
  await writeFile(path.join(folder, "package.json"), JSON.stringify({ name: "app", private: true, type: "module" }));
  await run("npm", ["install", "--no-audit", "--no-fund", ...tarballs, NODE_TYPES], { cwd: folder });
}, 300_000);

afterAll(() => rm(folder, { recursive: true, force: true }));

/** Packing follows the workspace's own rules, so it is done by the workspace's own tool. */
function pnpm(args: readonly string[], cwd: string): Promise<unknown> {
  const script = process.env["npm_execpath"] ?? "";
  if (/pnpm\.c?js$/.test(script)) return run(process.execPath, [script, ...args], { cwd });
  return run("npx", ["--yes", "pnpm@10", ...args], { cwd });
}

test.each(PACKAGES)("publint and attw find nothing wrong with %s", async (name) => {
  const tarball = tarballs[PACKAGES.indexOf(name)]!;
  const lint = await run(path.join(BIN, "publint"), [tarball]);
  expect(lint.stdout).toContain("All good!");
  // It ends with a failure when a resolution that the profile names has a problem.
  const types = await run(path.join(BIN, "attw"), [tarball, "--profile", "esm-only", "--format", "ascii"]);
  expect(types.stdout).toContain(`"@coldbrook/${name}"`);
  expect((await run("tar", ["tzf", tarball])).stdout).toContain("package/LICENSE");
});

test("the installed program serves", async () => {
  const dataDir = path.join(folder, "data");
  const entry = path.join(folder, "node_modules/@coldbrook/server/bin/coldbrook.js");
  await using server = await startServer({ args: ["--data-dir", dataDir], entry });
  const created = await fetch(`${server.url}/v1/stream/a`, {
    method: "PUT",
    headers: { "content-type": "text/plain" },
    body: "b",
  });
  expect(created.status).toBe(201);
  expect(await (await fetch(`${server.url}/v1/stream/a`)).text()).toBe("b");
  expect(await server.stop()).toBe(0);
  const bins = await readdir(path.join(folder, "node_modules/.bin"));
  expect(bins).toEqual(expect.arrayContaining(["coldbrook", "durable-stream"]));
});

test("the installed library runs, is typed, and is there for require as well", async () => {
  await writeFile(path.join(folder, "program.ts"), PROGRAM);
  const options = ["--module", "nodenext", "--target", "es2023", "--strict", "--types", "node", "--outDir", "out"];
  await run(path.join(ROOT, "node_modules/.bin/tsc"), [...options, "program.ts"], { cwd: folder });
  expect((await run(process.execPath, ["out/program.js"], { cwd: folder })).stdout).toBe("hello\n");
  const required = `console.log(typeof require("@coldbrook/server").DurableStreamTestServer)`;
  expect((await run(process.execPath, ["-e", required, "--input-type=commonjs"], { cwd: folder })).stdout).toBe(
    "function\n",
  );
});
