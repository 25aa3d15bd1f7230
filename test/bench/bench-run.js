// @ts-check
/** What one run of the benchmark owns: its children, its directories, and the way to be rid of all of them. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Figures } from "./figures.js";
import { sendOk } from "./http-client.js";
import { JobProcess } from "./job-process.js";
import { PeerServer } from "./peer-server.js";
import { findPeers } from "./peers.js";
import { addressOf, TargetServer } from "./target-server.js";

/** @typedef {import("./connection.js").Address} Address */
/** @typedef {{address: Address, root: string, dataDir: string | null, server: TargetServer | null}} Target */

/**
 * A server that takes part in a case, or the reason why it does not.
 * @typedef {object} Contender
 * @property {string} name
 * @property {Address} address
 * @property {string} root stream paths are `<root>/<group>/<name>`
 * @property {number} pid 0 when it is not a child of ours
 * @property {string | null} dataDir
 * @property {(group: string) => Promise<void>} makeGroup before the first stream of a group
 * @property {() => Promise<unknown>} stop
 * @property {string} problem empty while it works; what it answered once it failed
 */

export class BenchRun {
  settings;
  figures = new Figures();
  generator = new JobProcess("load-generator.js");
  #bareProcess = new JobProcess("bare-server.js");
  /** @type {import("./bare-server.js").BarePorts | null} */
  #barePorts = null;
  /** @type {{stop: () => Promise<unknown>}[]} */
  #servers = [];
  /** @type {import("./peers.js").Peer[]} */
  #peers = [];
  #directory;

  /** @param {import("./settings.js").Settings} settings @param {string} directory */
  constructor(settings, directory) {
    this.settings = settings;
    this.#directory = directory;
  }

  /** @param {import("./settings.js").Settings} settings @returns {Promise<BenchRun>} */
  static async open(settings) {
    const peers = settings.peers ? await findPeers(settings.peerPaths, progress) : [];
    const directory = await mkdtemp(join(settings.parent ?? tmpdir(), "coldbrook-bench-"));
    const run = new BenchRun(settings, directory);
    run.#peers = peers;
    return run;
  }

  /** Directory of this run; removed at its end. */
  get directory() {
    return this.#directory;
  }

  /** Version of each peer that is run. @returns {Record<string, string>} */
  get peerVersions() {
    return Object.fromEntries(this.#peers.map(({ name, version }) => [name, version]));
  }

  /** What the server under test is called in figures. */
  get ownName() {
    return this.settings.url === null ? "coldbrook" : "server";
  }

  /** Process id of the bare servers. */
  get barePid() {
    return this.#bareProcess.pid;
  }

  /** @param {keyof import("./bare-server.js").BarePorts} variant @returns {Promise<Address>} */
  async bare(variant) {
    this.#barePorts ??= await this.#bareProcess.run({ kind: "listen", directory: this.#directory });
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

  /**
   * The server under test first, then the peers, each fresh. A peer that does not start takes part with its problem.
   * @param {string} name @param {readonly string[]} [flags] of the server under test
   * @returns {Promise<Contender[]>}
   */
  async startContenders(name, flags = []) {
    const { address, root, dataDir, server } = await this.startTarget(name, flags);
    /** @type {Contender[]} */
    const contenders = [
      {
        name: this.ownName,
        address,
        root,
        dataDir,
        problem: "",
        pid: server?.pid ?? 0,
        makeGroup: async () => {},
        stop: async () => server?.stop(),
      },
    ];
    for (const peer of this.#peers) {
      const peerDir = join(this.#directory, `${name}-${peer.name}`);
      contenders.push(await this.#startPeer(peer, peerDir));
    }
    return contenders;
  }

  /** @param {import("./peers.js").Peer} peer @param {string} dataDir @returns {Promise<Contender>} */
  async #startPeer(peer, dataDir) {
    try {
      const server = await PeerServer.start(peer, dataDir);
      this.#servers.push(server);
      const { address, root, pid, makesGroups } = server;
      return {
        name: peer.name,
        address,
        root,
        dataDir,
        problem: "",
        pid,
        makeGroup: async (group) => {
          if (makesGroups) await sendOk(address, { method: "PUT", path: `${root}/${group}` });
        },
        stop: async () => {
          await server.stop();
          // A peer's data is of no use after its case, and there may be much of it.
          await rm(dataDir, { recursive: true, force: true });
        },
      };
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      progress(`! ${peer.name}: ${problem}`);
      const nowhere = { address: { host: "127.0.0.1", port: 0 }, root: "", dataDir: null, pid: 0 };
      return { ...nowhere, name: peer.name, problem, makeGroup: async () => {}, stop: async () => {} };
    }
  }

  /** Ends what a case that failed left behind. */
  async stopServers() {
    await Promise.all(this.#servers.map((server) => server.stop()));
    this.#servers = [];
  }

  /** Ends every child by its own id and removes the directory. */
  async close() {
    this.generator.end();
    this.#bareProcess.end();
    await this.stopServers();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** Shown on standard error, so that standard output holds the result alone. @param {string} text */
export function progress(text) {
  process.stderr.write(`  ${text}\n`);
}
