// @ts-check
/** A server under test as a child process on a port that the system chooses: its address, its end, its memory. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const COLDBROOK = fileURLToPath(new URL("../../packages/server/bin/coldbrook.js", import.meta.url));
const LISTENING = /listening on http:\/\/([^\s:]+|\[[^\]]+\]):(\d+)/;
const START_MS_MAX = 60_000;
const STOP_MS_MAX = 30_000;
const LOG_CHARS_KEPT = 16_384;

export class ServerProcess {
  host = "127.0.0.1";
  port = 0;
  /** How the process ended; null while it lives. @type {string | null} */
  ended = null;
  #child;
  #log = "";
  #exited;

  /** @param {import("node:child_process").ChildProcess} child */
  constructor(child) {
    this.#child = child;
    child.stderr?.on("data", (part) => (this.#log = (this.#log + part).slice(-LOG_CHARS_KEPT)));
    this.#exited = once(child, "exit").then(([code, signal]) => (this.ended = `exit code ${code}, signal ${signal}`));
  }

  /** @param {readonly string[]} argv script and its arguments; it says on standard output where it listens */
  static async start(argv) {
    const child = spawn(process.execPath, argv, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env["PATH"] },
    });
    const server = new ServerProcess(child);
    let output = "";
    const listening = new Promise((/** @type {(line: RegExpExecArray) => void} */ resolve) => {
      child.stdout?.on("data", (part) => {
        if (output.length < LOG_CHARS_KEPT) output += part;
        const match = LISTENING.exec(output);
        if (match !== null && output.includes("\n")) resolve(match);
      });
    });
    const abort = new AbortController();
    const late = wait(START_MS_MAX, null, { signal: abort.signal }).catch(() => null);
    const match = await Promise.race([listening, server.#exited.then(() => null), late]);
    abort.abort();
    if (match === null) {
      child.kill("SIGKILL");
      throw new Error(`${argv[0]} did not start: ${output}${server.log}`);
    }
    server.host = /** @type {string} */ (match[1]).replaceAll(/[[\]]/g, "");
    server.port = Number(match[2]);
    return server;
  }

  /** The end of what it wrote to standard error. */
  get log() {
    return this.#log;
  }

  /** Resident memory in bytes; null when the process is gone. */
  async rss() {
    const status = await readFile(`/proc/${this.#child.pid}/status`, "utf8").catch(() => "");
    const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1];
    return kibibytes === undefined ? null : Number(kibibytes) * 1024;
  }

  /** Ends it politely. @throws {Error} when it does not exit with 0 */
  async stop() {
    if (this.ended === null) {
      this.#child.kill("SIGTERM");
      const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS_MAX);
      await this.#exited;
      clearTimeout(timer);
    }
    if (this.ended !== "exit code 0, signal null") throw new Error(`the server ended with ${this.ended}\n${this.#log}`);
  }

  async kill() {
    this.#child.kill("SIGKILL");
    await this.#exited;
  }
}
