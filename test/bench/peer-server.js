// @ts-check
/** A peer as a child process on a free loopback port: ready when it answers HTTP, ended by its own id. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir } from "node:fs/promises";
import { createServer } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { send } from "./http-client.js";

const READY_MS = 30_000;
const STOP_MS = 20_000;
const LOG_CHARS_KEPT = 4096;

export class PeerServer {
  address = { host: "127.0.0.1", port: 0 };
  root = "";
  makesGroups = false;
  #child;
  #log = "";

  /** @param {import("node:child_process").ChildProcess} child */
  constructor(child) {
    this.#child = child;
    // A run that is interrupted must not leave a server behind.
    const killNow = () => void child.kill("SIGKILL");
    process.once("exit", killNow);
    child.once("exit", () => process.removeListener("exit", killNow));
    /** @param {Buffer} part */
    const keep = (part) => {
      this.#log = (this.#log + part).slice(-LOG_CHARS_KEPT);
    };
    child.stdout?.on("data", keep);
    child.stderr?.on("data", keep);
    child.on("error", (error) => keep(Buffer.from(error.message)));
  }

  /** @param {import("./peers.js").Peer} peer @param {string} dataDir @returns {Promise<PeerServer>} */
  static async start(peer, dataDir) {
    const port = await freePort();
    await mkdir(dataDir, { recursive: true });
    const { file, args, root, makesGroups } = await peer.command(dataDir, port);
    const server = new PeerServer(spawn(file, args, { stdio: ["ignore", "pipe", "pipe"], cwd: dataDir }));
    Object.assign(server, { address: { host: "127.0.0.1", port }, root, makesGroups });
    const deadline = Date.now() + READY_MS;
    while (Date.now() < deadline && !server.#hasEnded()) {
      const answer = await send(server.address, { method: "GET", path: `${root}/bench-ready/0` }).catch(() => null);
      // A server that still takes its place says 503.
      if (answer !== null && answer.status < 500) return server;
      await wait(50);
    }
    await server.stop();
    throw new Error(`it did not start: ${server.#log.trim().slice(-300)}`);
  }

  get pid() {
    return this.#child.pid ?? 0;
  }

  /** Resolves with whether it ended by itself after SIGTERM, not by SIGKILL. */
  async stop() {
    if (this.#hasEnded()) return false;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
    const [, signal] = await ended;
    clearTimeout(timer);
    return signal !== "SIGKILL";
  }

  #hasEnded() {
    return this.#child.pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
}

/** @returns {Promise<number>} */
export async function freePort() {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = /** @type {import("node:net").AddressInfo} */ (server.address());
  server.close();
  await once(server, "close");
  return address.port;
}
