// @ts-check
/**
 * The other servers of the protocol: how each is found, and the command that starts it durable (fdatasync before the
 * answer), with nothing else changed from its defaults. README.md says how to install them and why this is fair.
 */
import { createHash } from "node:crypto";
import { access, constants, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, delimiter } from "node:path";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const REFERENCE_SERVER = fileURLToPath(new URL("reference-server.js", import.meta.url));

/**
 * @typedef {object} PeerCommand
 * @property {string} file
 * @property {readonly string[]} args
 * @property {string} root what comes before `/<group>/<name>` in a stream's path
 * @property {boolean} makesGroups a group is created by a PUT of its own before its streams
 */

/**
 * @typedef {object} Peer
 * @property {string} name
 * @property {string} path file of the command, or directory of the package
 * @property {string} version
 * @property {(dataDir: string, port: number) => Promise<PeerCommand>} command
 */

/** @type {readonly {name: string, command: (path: string) => Peer["command"], find: "package" | string}[]} */
const KNOWN = [
  { name: "node-memory", find: "package", command: (path) => async (_dataDir, port) => reference(path, port, null) },
  { name: "node-files", find: "package", command: (path) => async (dataDir, port) => reference(path, port, dataDir) },
  { name: "electric", find: "durable-streams-server", command: electric },
  { name: "caddy", find: "durable-streams-caddy", command: caddy },
  { name: "ursula", find: "ursula", command: ursula },
];

/** How a peer's path may be given beside --peer: an environment variable of this name. @param {string} name */
export function variableOf(name) {
  return `BENCH_PEER_${name.toUpperCase().replaceAll("-", "_")}`;
}

/**
 * Every peer that is installed. One path for `node` serves both of its modes.
 * @param {Readonly<Record<string, string>>} paths
 * @param {(line: string) => void} say told of peers that are not there
 * @returns {Promise<Peer[]>}
 */
export async function findPeers(paths, say) {
  const unknown = Object.keys(paths).find((name) => name !== "node" && !KNOWN.some((known) => known.name === name));
  if (unknown !== undefined) {
    throw new TypeError(`--peer ${unknown}: use one of node, ${KNOWN.map(({ name }) => name).join(", ")}`);
  }
  /** @type {Peer[]} */
  const peers = [];
  for (const { name, find, command } of KNOWN) {
    const short = find === "package" ? "node" : name;
    const given = paths[name] ?? paths[short] ?? process.env[variableOf(name)] ?? process.env[variableOf(short)];
    const path = given ?? (find === "package" ? findPackage() : await findOnPath(find));
    if (path === null || (given !== undefined && !(await isThere(given)))) {
      say(`peer ${name}: ${given === undefined ? "not installed" : `${given} is not there`}, left out`);
      continue;
    }
    peers.push({ name, path, version: await versionOf(path, find === "package"), command: command(path) });
  }
  return peers;
}

/** @param {string} path @param {number} port @param {string | null} dataDir null: in memory @returns {PeerCommand} */
function reference(path, port, dataDir) {
  const args = [REFERENCE_SERVER, path, String(port), ...(dataDir === null ? [] : [dataDir])];
  return { file: process.execPath, args, root: "/v1/stream", makesGroups: false };
}

/** `--durability wal` is its default; it is named so that a changed default would show. @param {string} path @returns {Peer["command"]} */
function electric(path) {
  return async (dataDir, port) => ({
    file: path,
    args: ["--port", String(port), "--data-dir", dataDir, "--durability", "wal"],
    root: "/v1/stream",
    makesGroups: false,
  });
}

/** File-backed: it syncs each append, and has no other mode with a data directory. @param {string} path @returns {Peer["command"]} */
function caddy(path) {
  return async (dataDir, port) => {
    const config = join(dataDir, "Caddyfile");
    await mkdir(dataDir, { recursive: true });
    await writeFile(
      config,
      `{\n\tadmin off\n\tauto_https off\n}\nhttp://127.0.0.1:${port} {\n\troute /v1/stream/* {\n\t\tdurable_streams {\n\t\t\tdata_dir ${join(dataDir, "data")}\n\t\t}\n\t}\n}\n`,
    );
    const args = ["run", "--adapter", "caddyfile", "--config", config];
    return { file: path, args, root: "/v1/stream", makesGroups: false };
  };
}

/** One node with its Raft log on disk, and `fsync = "always"`: without it a single node answers before the sync. @param {string} path @returns {Peer["command"]} */
function ursula(path) {
  return async (dataDir, port) => {
    const config = join(dataDir, "ursula.toml");
    await mkdir(dataDir, { recursive: true });
    await writeFile(
      config,
      `[server]\nlisten = "127.0.0.1:${port}"\nadmin_listen = "127.0.0.1:0"\ncluster_id = "bench"\n\n[raft]\nnode_id = 1\n\n[raft.wal]\npath = "${join(dataDir, "wal")}"\nfsync = "always"\n\n[[raft.peers]]\nnode_id = 1\nurl = "http://127.0.0.1:${port}"\n`,
    );
    return { file: path, args: ["server", "--config", config], root: "", makesGroups: true };
  };
}

/** @returns {string | null} directory of the reference package beside the tests */
function findPackage() {
  try {
    const entry = createRequire(import.meta.url).resolve("@durable-streams/server/package.json");
    return dirname(entry);
  } catch {
    return null;
  }
}

/** @param {string} name @returns {Promise<string | null>} */
export async function findOnPath(name) {
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    const path = join(directory, name);
    if (directory !== "" && (await isThere(path))) return path;
  }
  return null;
}

/** @param {string} path @returns {Promise<boolean>} */
export async function isThere(path) {
  return await access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

/**
 * What the package says, or what cargo recorded beside the binary; else the binary's digest, as asking an unknown binary
 * for its version may just start it.
 * @param {string} path @param {boolean} isPackage @returns {Promise<string>}
 */
async function versionOf(path, isPackage) {
  if (isPackage) return JSON.parse(await readFile(join(path, "package.json"), "utf8")).version;
  const recorded = await readFile(join(dirname(path), "..", ".crates.toml"), "utf8").catch(() => "");
  const crate = /^"(\S+) (\S+) /m.exec(recorded);
  if (crate !== null) return `${crate[1]} ${crate[2]}`;
  const digest = createHash("sha256")
    .update(await readFile(path))
    .digest("hex");
  return `sha256:${digest.slice(0, 12)}`;
}
