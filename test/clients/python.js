// PyPI's durable-streams against a Coldbrook process: `pnpm build && node test/clients/python.js`.
//
// Exit code 0: passed. 1: failed. 2: this machine has no Python 3.10 with venv, or cannot reach PyPI; nothing was tested.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PACKAGE = "durable-streams==0.1.0";
const LISTENING = /^Coldbrook listening on (http:\/\/[^\s]+)/m;
const START_BOUND_MS = 60_000;
const SESSION_BOUND_MS = 300_000;
const SESSION = fileURLToPath(new URL("python-session.py", import.meta.url));
const COLDBROOK = fileURLToPath(new URL("../../packages/server/bin/coldbrook.js", import.meta.url));

class NotHere extends Error {}

/** The exit code; null after a signal or when there is no such program. */
function run(command, args) {
  return new Promise((done) => {
    const child = spawn(command, args, { stdio: "inherit", timeout: SESSION_BOUND_MS });
    child.on("error", () => done(null));
    child.on("close", done);
  });
}

/** A Python of its own with the client in it. @throws NotHere */
async function installClient(folder) {
  if ((await run("python3", ["-m", "venv", folder])) !== 0) throw new NotHere("`python3 -m venv` does not work");
  const python = join(folder, process.platform === "win32" ? "Scripts/python.exe" : "bin/python");
  const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE];
  if ((await run(python, pip)) !== 0) throw new NotHere(`pip cannot install ${PACKAGE}`);
  return python;
}

/** The process and its URL. @throws Error when it does not listen */
async function startColdbrook(folder) {
  if (!existsSync(join(COLDBROOK, "../../dist"))) throw new Error("there is no build: run `pnpm build` first");
  const child = spawn(process.execPath, [COLDBROOK, "serve", "--port", "0", "--data-dir", folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  const url = await new Promise((resolve, reject) => {
    const bound = setTimeout(() => reject(new Error("the server does not listen")), START_BOUND_MS);
    child.on("close", (code) => reject(new Error(`the server ended with code ${code} before it listened`)));
    child.stdout.setEncoding("utf8").on("data", (text) => {
      output += text;
      const found = LISTENING.exec(output)?.[1];
      if (found === undefined) return;
      clearTimeout(bound);
      resolve(found);
    });
  }).catch((error) => {
    child.kill("SIGKILL");
    throw error;
  });
  return { child, url };
}

async function main() {
  const folder = await mkdtemp(join(tmpdir(), "coldbrook-python-"));
  let child;
  try {
    const python = await installClient(join(folder, "venv"));
    const server = await startColdbrook(join(folder, "data"));
    child = server.child;
    const code = await run(python, [SESSION, `${server.url}/v1/stream`]);
    if (code !== 0) throw new Error(`the session ended with code ${code}`);
  } finally {
    child?.kill("SIGKILL");
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

main().catch((error) => {
  const nothingTested = error instanceof NotHere;
  process.stderr.write(`Python client: ${nothingTested ? "NOT TESTED, as " : ""}${error.message}\n`);
  process.exitCode = nothingTested ? 2 : 1;
});
