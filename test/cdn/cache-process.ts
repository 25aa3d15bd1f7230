/**
 * Varnish and nginx as child processes on loopback, each with the very configuration that docs/cdn recommends. Nothing of
 * them lies outside of a temporary directory, and each is ended by its own id.
 */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { until, within } from "../process/until.ts";

export type CacheName = "Varnish" | "nginx";

const PROGRAMS: Readonly<Record<CacheName, string>> = { Varnish: "varnishd", nginx: "nginx" };
const CONFIGURATIONS: string = fileURLToPath(new URL("../../docs/cdn/", import.meta.url));
const OUTPUT_CHARS_MAX = 100_000;
const START_BOUND_MS = 60_000;
const PORTS_TRIED = 5;

/** Where the program lies, or undefined. The directories of a superuser are looked at too: users lack them in their PATH. */
function programOf(name: CacheName): string | undefined {
  const directories = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/local/sbin", "/usr/sbin"];
  return directories.map((directory) => join(directory, PROGRAMS[name])).find((path) => existsSync(path));
}

/** Why a cache cannot be tested here, or undefined when it can. */
export function missing(name: CacheName): string | undefined {
  if (programOf(name) !== undefined) return undefined;
  return `CDN: ${PROGRAMS[name].toUpperCase()} IS NOT INSTALLED, SO NOTHING IS TESTED THROUGH ${name.toUpperCase()}. On Debian: apt-get install varnish nginx`;
}

/** In CI, a cache that could have been installed must have been: a skip would be silent there. */
export function mustBeThere(): boolean {
  return (process.env["CI"] ?? "") !== "" && process.getuid?.() === 0 && existsSync("/usr/bin/apt-get");
}

/** A recommended configuration with its placeholders filled. @throws Error when one is left over or unknown */
async function configuration(file: string, values: Readonly<Record<string, string>>): Promise<string> {
  let text = await readFile(join(CONFIGURATIONS, file), "utf8");
  for (const [name, value] of Object.entries(values)) {
    if (!text.includes(`@${name}@`)) throw new Error(`docs/cdn/${file} has no placeholder @${name}@`);
    text = text.replaceAll(`@${name}@`, value);
  }
  const settings = text.replaceAll(/^ *#.*$/gm, "");
  const left = /@[A-Z_]+@/.exec(settings);
  if (left !== null) throw new Error(`docs/cdn/${file}: nothing fills ${left[0]}`);
  return text;
}

export class CacheProcess implements AsyncDisposable {
  readonly name: CacheName;
  readonly url: string;
  readonly #child: Child;
  readonly #directory: string;

  constructor(name: CacheName, url: string, child: Child, directory: string) {
    this.name = name;
    this.url = url;
    this.#child = child;
    this.#directory = directory;
  }

  /** The end of what the process said, for failure messages. */
  get output(): string {
    return this.#child.output.slice(-2_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child.end();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** One process and all it says. */
class Child {
  output = "";
  readonly #process: ChildProcess;
  readonly #closed: Promise<void>;
  #isClosed = false;

  constructor(program: string, args: readonly string[]) {
    this.#process = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    const keep = (text: string): void => {
      this.output = (this.output + text).slice(-OUTPUT_CHARS_MAX);
    };
    for (const stream of [this.#process.stdout, this.#process.stderr]) stream?.setEncoding("utf8").on("data", keep);
    this.#closed = new Promise((resolve) => {
      const close = (): void => {
        this.#isClosed = true;
        resolve();
      };
      this.#process.once("close", close).once("error", (error) => {
        keep(String(error));
        close();
      });
    });
  }

  get ended(): boolean {
    return this.#isClosed;
  }

  async end(): Promise<void> {
    this.#process.kill("SIGTERM");
    await within("the cache's end", 30_000, this.#closed);
  }
}

/** Starts a cache in front of `origin`, an http URL. */
export async function startCache(name: CacheName, origin: string): Promise<CacheProcess> {
  const program = programOf(name);
  if (program === undefined) throw new Error(missing(name));
  const directory = await mkdtemp(join(tmpdir(), "coldbrook-cdn-"));
  // The workers of both run as users of their own.
  await chmod(directory, 0o755);
  const { hostname, port } = new URL(origin);
  const values = { ORIGIN_HOST: hostname, ORIGIN_PORT: port };
  try {
    if (name === "Varnish") return await startVarnish(program, directory, values);
    return await startNginx(program, directory, values);
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
}

async function startVarnish(
  program: string,
  directory: string,
  values: Readonly<Record<string, string>>,
): Promise<CacheProcess> {
  const file = join(directory, "varnish.vcl");
  await writeFile(file, await configuration("varnish.vcl", values));
  const workspace = join(directory, "work");
  // Bounded memory; a shared log of 8 MiB where 80 are usual. The VCL is compiled by the machine's C compiler.
  const bounds = ["-s", "malloc,192m", "-l", "8m", "-p", "timeout_idle=75"];
  const args = ["-F", "-n", workspace, "-a", "127.0.0.1:0", "-f", file, ...bounds];
  const child = new Child(program, args);
  const listens = async (): Promise<string | undefined> => {
    if (child.ended) throw new Error(`varnishd ended at its start:\n${child.output}`);
    const asked = promisify(execFile)("varnishadm", ["-n", workspace, "-t", "2", "debug.listen_address"]);
    const answer = await asked.catch(() => undefined);
    const port = /^\S+ 127\.0\.0\.1 (\d+)$/m.exec(answer?.stdout ?? "")?.[1];
    return port === undefined || port === "0" ? undefined : `http://127.0.0.1:${port}`;
  };
  try {
    return new CacheProcess("Varnish", await until("varnishd to listen", START_BOUND_MS, listens), child, directory);
  } catch (error) {
    await child.end();
    throw error;
  }
}

/** What surrounds the recommended file on a usual system, with every path inside the prefix. */
function nginxMain(): string {
  const kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const paths = kinds.map((kind) => `  ${kind}_temp_path temp-${kind};`).join("\n");
  return `pid nginx.pid;
error_log stderr error;
worker_processes 1;
events { worker_connections 4096; }
http {
  access_log off;
${paths}
  include streams.conf;
}
`;
}

async function startNginx(
  program: string,
  directory: string,
  values: Readonly<Record<string, string>>,
): Promise<CacheProcess> {
  const cacheDirectory = join(directory, "cache");
  await mkdir(cacheDirectory);
  await chmod(cacheDirectory, 0o777);
  await writeFile(join(directory, "nginx.conf"), nginxMain());
  // nginx takes no port of the system's choice: one that was free a moment ago, and another when it is gone.
  for (let tried = 1; ; tried += 1) {
    const [port, hopPort] = await freePorts();
    const listen = `127.0.0.1:${port}`;
    const text = await configuration("nginx.conf", {
      ...values,
      LISTEN: listen,
      HOP_PORT: `${hopPort}`,
      CACHE_DIR: cacheDirectory,
    });
    await writeFile(join(directory, "streams.conf"), text);
    const child = new Child(program, ["-p", `${directory}/`, "-c", "nginx.conf", "-e", "stderr", "-g", "daemon off;"]);
    const listens = async (): Promise<boolean | undefined> => {
      if (child.ended) return false;
      const answer = await fetch(`http://${listen}/health`).catch(() => undefined);
      await answer?.body?.cancel();
      // Only our configuration says this; another program may have taken the port.
      return answer?.headers.has("x-cache") === true ? true : undefined;
    };
    try {
      if (await until("nginx to listen", START_BOUND_MS, listens)) {
        return new CacheProcess("nginx", `http://${listen}`, child, directory);
      }
    } catch (error) {
      await child.end();
      throw error;
    }
    if (tried === PORTS_TRIED || !child.output.includes("Address already in use")) {
      throw new Error(`nginx ended at its start:\n${child.output}`);
    }
  }
}

/** Two ports that are free at this moment. */
async function freePorts(): Promise<readonly [number, number]> {
  const servers = [createServer(), createServer()] as const;
  for (const server of servers) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  }
  const portOf = (index: 0 | 1): number => (servers[index].address() as AddressInfo).port;
  const ports = [portOf(0), portOf(1)] as const;
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
  return ports;
}
