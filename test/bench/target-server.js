// @ts-check
/** The server under test as a child process: started by its command, ready at its first line, stopped by SIGTERM. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { performance } from "node:perf_hooks";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const DEFAULT_COMMAND = fileURLToPath(new URL("../../packages/server/bin/coldbrook.js", import.meta.url));
const LISTENING = /^Coldbrook listening on (http:\/\/\S+)$/;
const START_MS_MAX = 120_000;
const STOP_MS_MAX = 60_000;
const LOG_CHARS_KEPT = 8192;

/**
 * @typedef {object} StartOptions
 * @property {string} dataDir
 * @property {string} [command] file to run with this Node; the repository's own by default
 * @property {readonly string[]} [flags]
 * @property {NodeJS.ProcessEnv} [env]
 */

export class TargetServer {
  /** From the start of the process to its listening line. */
  startMs = 0;
  /** @type {import("./connection.js").Address} */
  address = { host: "127.0.0.1", port: 0 };
  root = "/v1/stream";
  #child;
  #log = "";

  /** @param {import("node:child_process").ChildProcess} child */
  constructor(child) {
    this.#child = child;
    // A run that is interrupted must not leave a server behind.
    const killNow = () => void child.kill("SIGKILL");
    process.once("exit", killNow);
    child.once("exit", () => process.removeListener("exit", killNow));
    child.stderr?.on("data", (part) => {
      this.#log = (this.#log + part).slice(-LOG_CHARS_KEPT);
    });
  }

  /** Resolves when the server says that it listens. @param {StartOptions} options @returns {Promise<TargetServer>} */
  static async start({ dataDir, command = DEFAULT_COMMAND, flags = [], env = process.env }) {
    const from = performance.now();
    const child = spawn(process.execPath, [command, "serve", "--port", "0", "--data-dir", dataDir, ...flags], {
      stdio: ["ignore", "pipe", "pipe"],
      env,
    });
    const server = new TargetServer(child);
    const abort = new AbortController();
    try {
      const line = await Promise.race([
        firstLine(/** @type {import("node:stream").Readable} */ (child.stdout)),
        once(child, "exit").then(() => "(it ended)"),
        wait(START_MS_MAX, "(nothing within 120 s)", { signal: abort.signal }),
      ]);
      const url = LISTENING.exec(line)?.[1];
      if (url === undefined) throw new Error(`the server did not start: ${line}\n${server.#log}`);
      server.startMs = performance.now() - from;
      server.address = addressOf(new URL(url));
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    } finally {
      abort.abort();
    }
    return server;
  }

  get pid() {
    return this.#child.pid ?? 0;
  }

  /** Ends it politely, or by SIGKILL after a minute. Resolves with whether it was polite and exited with 0. */
  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return false;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS_MAX);
    const [code] = await ended;
    clearTimeout(timer);
    return code === 0;
  }
}

/** @param {URL} url @returns {import("./connection.js").Address} */
export function addressOf(url) {
  const secure = url.protocol === "https:";
  const port = url.port === "" ? (secure ? 443 : 80) : Number(url.port);
  return { host: url.hostname, port, ...(secure ? { secure } : {}) };
}

/** Keeps reading after the first line, so that the pipe never fills. @param {import("node:stream").Readable} stream */
function firstLine(stream) {
  return new Promise((/** @type {(line: string) => void} */ resolve) => {
    let text = "";
    let found = false;
    stream.on("data", (part) => {
      if (found) return;
      text += part;
      const end = text.indexOf("\n");
      if (end < 0) return;
      found = true;
      resolve(text.slice(0, end).trim());
    });
  });
}
