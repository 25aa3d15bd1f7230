// @ts-check
/** What one run of the benchmark owns: its children, its directories, and the way to be rid of all of them. */
import { mkdtemp, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { JobProcess } from "./job-process.js";
import { addressOf, TargetServer } from "./target-server.js";

const TMPFS = 0x01021994;

/** @typedef {import("./connection.js").Address} Address */
/** @typedef {{address: Address, root: string, dataDir: string | null, server: TargetServer | null}} Target */

export class BenchRun {
  settings;
  generator = new JobProcess("load-generator.js");
  #bareProcess = new JobProcess("bare-server.js");
  /** @type {import("./bare-server.js").BarePorts | null} */
  #barePorts = null;
  /** @type {TargetServer[]} */
  #servers = [];
  #directory;

  /** @param {import("./settings.js").Settings} settings @param {string} directory */
  constructor(settings, directory) {
    this.settings = settings;
    this.#directory = directory;
  }

  /** @param {import("./settings.js").Settings} settings @returns {Promise<BenchRun>} */
  static async open(settings) {
    const directory = await mkdtemp(join(settings.parent ?? tmpdir(), "coldbrook-bench-"));
    return new BenchRun(settings, directory);
  }

  /** Directory of this run; removed at its end. */
  get directory() {
    return this.#directory;
  }

  /** Whether a sync in the run's directory costs nothing because no disk is behind it. */
  async isMemoryDisk() {
    return (await statfs(this.#directory)).type === TMPFS;
  }

  /** @param {keyof import("./bare-server.js").BarePorts} variant @returns {Promise<Address>} */
  async bare(variant) {
    this.#barePorts ??= await this.#bareProcess.run({
      kind: "listen",
      syncedFile: join(this.#directory, "synced.dat"),
    });
    return { host: "127.0.0.1", port: /** @type {import("./bare-server.js").BarePorts} */ (this.#barePorts)[variant] };
  }

  /** Files that the bare `file` variant serves. @param {readonly {path: string, bytes: number}[]} files */
  async serveFiles(files) {
    await this.#bareProcess.run({ kind: "files", files });
  }

  /**
   * The server given by --url, or a new one on a directory of its own (the same directory for the same name).
   * @param {string} name
   * @param {readonly string[]} flags
   * @param {NodeJS.ProcessEnv} [env]
   * @returns {Promise<Target>}
   */
  async startTarget(name, flags = [], env = process.env) {
    const { url, server: command } = this.settings;
    if (url !== null) {
      return { address: addressOf(url), root: url.pathname.replace(/\/$/, ""), dataDir: null, server: null };
    }
    const dataDir = join(this.#directory, name);
    const server = await TargetServer.start({ dataDir, flags, env, ...(command === null ? {} : { command }) });
    this.#servers.push(server);
    return { address: server.address, root: server.root, dataDir, server };
  }

  /** Ends every child by its own id and removes the directory. */
  async close() {
    this.generator.end();
    this.#bareProcess.end();
    await Promise.all(this.#servers.map((server) => server.stop()));
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** Shown on standard error, so that standard output holds the result alone. @param {string} text */
export function progress(text) {
  process.stderr.write(`  ${text}\n`);
}
