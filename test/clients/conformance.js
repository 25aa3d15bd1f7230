// The protocol's official client conformance suite, run against Coldbrook's embeddable server or the reference's.
//
//   node test/clients/conformance.js [--server coldbrook|reference] [--from REPOSITORY] [--commit SHA] [-- SUITE ARGS]
//
// The suite is not on npm: it is taken from the protocol's repository at a pinned commit, and what it depends on from npm,
// into the git-ignored .cache. Exit code 0 only when at least 259 tests passed and none failed. See README.md here.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { delimiter, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const REPOSITORY = "https://github.com/durable-streams/durable-streams.git";
const COMMIT = "82f9963ae0b489566352393be9b4796c788c99c2";
const SUITE_PATH = "packages/client-conformance-tests";
/** What the TypeScript client passes against the reference; the suite's other 10 skip themselves for this client. */
const PASSED_MIN = 259;
const DEPENDENCIES = {
  "@durable-streams/client": "0.2.7",
  "@durable-streams/server": "0.3.7",
  "fast-check": "4.10.2",
  tsx: "4.23.15",
  yaml: "2.9.1",
};

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const OUR_SERVER = join(ROOT, "packages/server/dist/index.js");

class Refusal extends Error {}

/** Runs a program to its end; its output goes to ours, or to `onOutput`. @throws Refusal on another exit code than 0 */
async function run(command, args, options = {}) {
  const { onOutput, allowFailure, ...spawnOptions } = options;
  const stdio = onOutput === undefined ? "inherit" : ["ignore", "pipe", "inherit"];
  const child = spawn(command, args, { stdio, ...spawnOptions });
  child.stdout?.setEncoding("utf8").on("data", onOutput);
  const code = await new Promise((done, fail) => {
    child.on("error", (error) => fail(new Refusal(`cannot run ${command}: ${error.message}`)));
    child.on("close", done);
  });
  if (code !== 0 && allowFailure !== true) throw new Refusal(`${command} ${args.join(" ")} ended with code ${code}`);
  return code;
}

/** The git directory to take the suite from: the one named, or a shallow fetch of the commit. */
async function repositoryWith(commit, from, cache) {
  if (existsSync(from)) return resolve(from);
  const clone = join(cache, "protocol.git");
  await run("git", ["init", "--quiet", "--bare", clone]);
  await run("git", ["-C", clone, "fetch", "--quiet", "--depth", "1", from, commit]);
  return clone;
}

/** Lays out the suite's own files with what they import, once for each commit. Returns their folder. */
async function layOut(commit, from, cache) {
  const home = join(cache, commit.slice(0, 12));
  const manifest = join(home, "package.json");
  const suite = join(home, "suite");
  if (!existsSync(join(suite, "src"))) {
    const repository = await repositoryWith(commit, from, cache);
    const unpacked = `${suite}.part`;
    await rm(unpacked, { recursive: true, force: true });
    await mkdir(unpacked, { recursive: true });
    const archive = join(home, "suite.tar");
    await run("git", ["-C", repository, "archive", "--format=tar", "-o", archive, `${commit}:${SUITE_PATH}`]);
    await run("tar", ["-xf", archive, "-C", unpacked]);
    await rename(unpacked, suite);
  }
  const wanted = JSON.stringify({ private: true, type: "module", dependencies: DEPENDENCIES }, undefined, 2);
  const installed = existsSync(join(home, "node_modules/.package-lock.json"));
  if (!installed || (await readFile(manifest, "utf8")) !== wanted) {
    await writeFile(manifest, wanted);
    await run("npm", ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"], { cwd: home });
  }
  return { home, suite };
}

/** @throws Refusal when the build is missing or has no such class */
async function ensureOurServer() {
  if (!existsSync(OUR_SERVER)) throw new Refusal(`${OUR_SERVER} is missing: run \`pnpm build\` first`);
  const built = await import(pathToFileURL(OUR_SERVER).href);
  if (typeof built.DurableStreamTestServer !== "function")
    throw new Refusal(`${OUR_SERVER} exports no DurableStreamTestServer: run \`pnpm build\` first`);
}

/**
 * The suite imports `@durable-streams/server`. A package of that name in its own folder is found before the installed one:
 * it hands on the server under test, and says so, so that the run can be seen to have used it.
 */
async function nameServer(server, suite, home) {
  const target = server === "coldbrook" ? OUR_SERVER : join(home, "node_modules/@durable-streams/server/dist/index.js");
  const folder = join(suite, "node_modules/@durable-streams/server");
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const manifest = { name: "@durable-streams/server", version: "0.0.0", type: "module", exports: "./index.js" };
  await writeFile(join(folder, "package.json"), JSON.stringify(manifest));
  const said = `Server under test: ${target}`;
  const source = `export * from ${JSON.stringify(pathToFileURL(target).href)};\nprocess.stdout.write(${JSON.stringify(`${said}\n`)});\n`;
  await writeFile(join(folder, "index.js"), source);
  return said;
}

function countIn(output, name) {
  const found = new RegExp(`^${name}: (\\d+)`, "m").exec(output)?.[1];
  return found === undefined ? undefined : Number(found);
}

async function runSuite(server, { home, suite }, suiteArgs) {
  const said = await nameServer(server, suite, home);
  let output = "";
  const onOutput = (text) => {
    output += text;
    process.stdout.write(text);
  };
  const env = { ...process.env, PATH: `${join(home, "node_modules/.bin")}${delimiter}${process.env.PATH ?? ""}` };
  const args = ["--import", "tsx", join(suite, "src/cli.ts"), "--run", "ts", ...suiteArgs];
  const code = await run(process.execPath, args, { cwd: home, env, onOutput, allowFailure: true });
  if (!output.includes(said)) throw new Refusal(`the suite did not load the server under test (${server})`);
  const passed = countIn(output, "Passed");
  const failed = countIn(output, "Failed");
  if (passed === undefined || failed === undefined)
    throw new Refusal(`the suite ended with code ${code} and without a summary`);
  if (failed > 0) throw new Refusal(`${passed} passed, ${failed} failed`);
  if (code !== 0) throw new Refusal(`${passed} passed, but the suite ended with code ${code}`);
  if (passed < PASSED_MIN) throw new Refusal(`only ${passed} passed: at least ${PASSED_MIN} have to run and pass`);
  return passed;
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      server: { type: "string", default: "coldbrook" },
      from: { type: "string", default: REPOSITORY },
      commit: { type: "string", default: COMMIT },
    },
  });
  const { server, from, commit } = values;
  if (server !== "coldbrook" && server !== "reference")
    throw new Refusal(`--server is coldbrook or reference, not ${server}`);
  if (server === "coldbrook") await ensureOurServer();
  const cache = join(ROOT, ".cache/client-conformance");
  await mkdir(cache, { recursive: true });
  const passed = await runSuite(server, await layOut(commit, from, cache), positionals);
  process.stdout.write(`${passed} passed\n`);
}

main().catch((error) => {
  process.stderr.write(`client conformance: ${error instanceof Refusal ? error.message : (error?.stack ?? error)}\n`);
  process.exitCode = 1;
});
