/** The server as its users run it: one child process on a port the system chooses, ended by its own id. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { within } from "./until.ts";

/** The command under test; the build must have run. */
export const COLDBROOK_BIN: string = fileURLToPath(new URL("../../packages/server/bin/coldbrook.js", import.meta.url));

const OUTPUT_CHARS_MAX = 1_000_000;
const LISTENING = /^Coldbrook listening on (http:\/\/[^\s]+)/;

export interface ServerOptions {
  /** Flags after `serve --port 0`, at least `--data-dir`. */
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Script that node runs instead of the command. */
  readonly entry?: string;
  /** Options of node itself. */
  readonly nodeArgs?: readonly string[];
  readonly readyBoundMs?: number;
  /** Limit of open files. */
  readonly openFiles?: number;
}

/** How a process ended: exactly one of the two is set. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Nothing of the caller's environment but what node itself needs: no setting leaks into a test. */
function cleanEnv(extra: Readonly<Record<string, string>> | undefined): Record<string, string> {
  const env: Record<string, string> = {};
  for (const name of ["PATH", "HOME", "TMPDIR", "TZ", "LANG", "NODE_OPTIONS"]) {
    const value = process.env[name];
    if (value !== undefined && name !== "NODE_OPTIONS") env[name] = value;
  }
  return { ...env, ...extra };
}

export class ServerProcess {
  /** All of standard output and standard error so far, the oldest part dropped past a bound. */
  stdout = "";
  stderr = "";
  readonly pid: number;
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #readyBoundMs: number;
  readonly #ready: Promise<string>;
  #url: string | undefined;
  #exit: Exit | undefined;

  constructor(options: ServerOptions) {
    const args = [options.entry ?? COLDBROOK_BIN, "serve", "--port", "0", ...options.args];
    this.#readyBoundMs = options.readyBoundMs ?? 60_000;
    const command = [process.execPath, ...(options.nodeArgs ?? []), ...args];
    // The shell's process becomes the server's: its id is ours to end.
    if (options.openFiles !== undefined)
      command.unshift("sh", "-c", 'ulimit -n "$0"; exec "$@"', `${options.openFiles}`);
    this.#child = spawn(command[0]!, command.slice(1), {
      env: cleanEnv(options.env),
      stdio: ["ignore", "pipe", "pipe"],
    });
    if (this.#child.pid === undefined) throw new Error(`could not start ${args.join(" ")}`);
    this.pid = this.#child.pid;
    this.exited = new Promise((resolve) => {
      this.#child.once("close", (code, signal) => {
        this.#exit = { code, signal };
        resolve(this.#exit);
      });
    });
    this.#ready = new Promise((resolve, reject) => {
      this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => {
        this.stdout = (this.stdout + text).slice(-OUTPUT_CHARS_MAX);
        const url = this.#url === undefined ? LISTENING.exec(this.stdout)?.[1] : undefined;
        if (url !== undefined && this.stdout.includes("\n")) resolve((this.#url = url));
      });
      void this.exited.then((exit) =>
        reject(new Error(`server ended before it listened (${describeExit(exit)})${this.tailOfLog()}`)),
      );
    });
    this.#ready.catch(() => undefined);
    this.#child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr = (this.stderr + text).slice(-OUTPUT_CHARS_MAX);
    });
  }

  /** Base URL without a slash at the end. @throws Error before the server listens. */
  get url(): string {
    if (this.#url === undefined) throw new Error("the server does not listen yet");
    return this.#url;
  }

  get listening(): boolean {
    return this.#url !== undefined;
  }

  get exit(): Exit | undefined {
    return this.#exit;
  }

  /** Resolves with the URL when the listening line is out; rejects when the process ends before. */
  async waitReady(): Promise<string> {
    return within("the server's listening line", this.#readyBoundMs, this.#ready);
  }

  /** SIGKILL, and waits until the system has taken the process away. */
  async kill9(): Promise<Exit> {
    this.#child.kill("SIGKILL");
    return within("the killed server's end", 30_000, this.exited);
  }

  /** SIGTERM; the exit code, which is 0 after a graceful end. */
  async stop(): Promise<number | null> {
    this.#child.kill("SIGTERM");
    const exit = await within("the server's graceful end", 60_000, this.exited);
    return exit.code;
  }

  /** The last lines of standard error, for failure messages. */
  tailOfLog(): string {
    const lines = this.stderr.trimEnd().split("\n").slice(-15).join("\n");
    return lines === "" ? "" : `\n--- the server's last lines\n${lines}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#exit === undefined) await this.kill9();
  }
}

function describeExit(exit: Exit): string {
  return exit.signal === null ? `exit code ${exit.code}` : `signal ${exit.signal}`;
}

/** Starts a server and waits until it listens. */
export async function startServer(options: ServerOptions): Promise<ServerProcess> {
  const server = new ServerProcess(options);
  try {
    await server.waitReady();
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw error;
  }
  return server;
}

/** Starts a server that must refuse to: its exit code and all it said. @throws Error when it listens after all. */
export async function startRefused(options: ServerOptions): Promise<{ code: number | null; output: string }> {
  await using server = new ServerProcess(options);
  await Promise.race([server.waitReady().catch(() => undefined), server.exited]);
  if (server.listening) throw new Error(`the server started, though it must not${server.tailOfLog()}`);
  const exit = await within("the refused start's end", 60_000, server.exited);
  return { code: exit.code, output: server.stdout + server.stderr };
}

export interface CommandResult {
  readonly code: number | null;
  /** Standard output and standard error. */
  readonly output: string;
}

/** Runs one of the command's other verbs to its end. */
export async function runCommand(
  verb: string,
  options: { args: readonly string[]; env?: Readonly<Record<string, string>> },
): Promise<CommandResult> {
  const child = spawn(process.execPath, [COLDBROOK_BIN, verb, ...options.args], {
    env: cleanEnv(options.env),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output = (output + text).slice(-OUTPUT_CHARS_MAX)));
  }
  try {
    const [code] = (await within(`coldbrook ${verb}`, 300_000, once(child, "close"))) as [number | null];
    return { code, output };
  } finally {
    child.kill("SIGKILL");
  }
}

/** `coldbrook check` of a stopped server's data: code 0 when all is sound, 1 with findings. */
export async function runCheck(options: {
  args: readonly string[];
  env?: Readonly<Record<string, string>>;
}): Promise<CommandResult> {
  return runCommand("check", options);
}
