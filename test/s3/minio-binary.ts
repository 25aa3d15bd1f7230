import { execFile, spawn, type ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { access, constants, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import type { RunningS3 } from "./endpoint.ts";

const run = promisify(execFile);

const MODULE = "github.com/minio/minio@latest";
const PORT_ATTEMPTS = 5;
const READY_MS = 60_000;
const STOP_MS = 5_000;

/** The `minio` on PATH, or the cached one, or one built into the cache; undefined when there is no Go to build with. */
export async function findMinio(cacheDir: string, say: (line: string) => void): Promise<string | undefined> {
  const cached = join(cacheDir, "minio");
  const found = (await findOnPath("minio")) ?? ((await isExecutable(cached)) ? cached : undefined);
  if (found !== undefined) return found;
  if ((await findOnPath("go")) === undefined) return undefined;
  say(`S3: building MinIO into ${cached}, once; this takes about three minutes`);
  // Built aside and renamed, so that an interrupted build leaves nothing that looks like a server.
  await mkdir(cacheDir, { recursive: true });
  const aside = await mkdtemp(join(cacheDir, "build-"));
  try {
    await run("go", ["install", MODULE], { env: { ...process.env, GOBIN: aside }, maxBuffer: 1 << 26 });
    await rename(join(aside, "minio"), cached);
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
  return cached;
}

/** A MinIO of its own on loopback, with a directory of its own that goes when it stops. */
export async function startMinio(binary: string): Promise<RunningS3> {
  const directory = await mkdtemp(join(tmpdir(), "coldbrook-minio-"));
  const secretAccessKey = randomUUID();
  try {
    for (let attempt = 1; ; attempt += 1) {
      const port = await freePort();
      const server = launch(binary, directory, port, secretAccessKey);
      if (await becomesReady(server, port)) {
        const stop = async (): Promise<void> => {
          await end(server.child);
          await rm(directory, { recursive: true, force: true });
        };
        const endpoint = `http://127.0.0.1:${port}`;
        return {
          endpoint: { endpoint, accessKeyId: ACCESS_KEY, secretAccessKey, region: "us-east-1", kind: "binary" },
          version: await versionOf(binary),
          stop,
        };
      }
      await end(server.child);
      // The port was free a moment ago; whoever took it since may be another test run.
      if (attempt === PORT_ATTEMPTS) throw new Error(`${binary} does not start: ${server.output().trim().slice(-500)}`);
    }
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

const ACCESS_KEY = "coldbrook-test";

interface Launched {
  readonly child: ChildProcess;
  readonly output: () => string;
}

function launch(binary: string, directory: string, port: number, secret: string): Launched {
  const child = spawn(binary, ["server", directory, "--address", `127.0.0.1:${port}`, "--quiet"], {
    env: {
      ...process.env,
      MINIO_ROOT_USER: ACCESS_KEY,
      MINIO_ROOT_PASSWORD: secret,
      MINIO_BROWSER: "off",
      MINIO_UPDATE: "off",
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString("utf8")).slice(-4096);
  };
  child.stdout.on("data", keep);
  child.stderr.on("data", keep);
  child.on("error", (error) => keep(Buffer.from(error.message)));
  // A run that ends without its teardown must not leave a server behind.
  const killNow = (): void => void child.kill("SIGKILL");
  process.once("exit", killNow);
  child.once("exit", () => process.removeListener("exit", killNow));
  return { child, output: () => output };
}

/** False when the process ended first. */
async function becomesReady(server: Launched, port: number): Promise<boolean> {
  const deadline = Date.now() + READY_MS;
  while (Date.now() < deadline) {
    if (hasEnded(server.child)) return false;
    const answer = await fetch(`http://127.0.0.1:${port}/minio/health/ready`).catch(() => undefined);
    await answer?.body?.cancel();
    // Another MinIO on this port would answer as well; ours ends then.
    if (answer?.ok === true && !hasEnded(server.child)) return true;
    await delay(50);
  }
  return false;
}

function hasEnded(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
}

async function end(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
  await ended;
  clearTimeout(timer);
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port to be had");
  return address.port;
}

async function versionOf(binary: string): Promise<string> {
  const { stdout } = await run(binary, ["--version"]);
  const said = /version (\S+)/.exec(stdout)?.[1] ?? "of unknown version";
  if (!said.startsWith("DEVELOPMENT")) return `MinIO ${said}`;
  // A binary that `go install` built knows its version only as a module.
  const built = await run("go", ["version", "-m", binary]).catch(() => undefined);
  return `MinIO ${/\tmod\tgithub\.com\/minio\/minio\t(\S+)/.exec(built?.stdout ?? "")?.[1] ?? said}`;
}

async function findOnPath(name: string): Promise<string | undefined> {
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(directory, name);
    if (directory !== "" && (await isExecutable(path))) return path;
  }
  return undefined;
}

async function isExecutable(path: string): Promise<boolean> {
  return await access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
