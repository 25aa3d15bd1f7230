// @ts-check
/** Where a result was measured: enough to tell whether two results may be compared at all. */
import { readFile, statfs } from "node:fs/promises";
import { arch, cpus, loadavg, platform, release, totalmem } from "node:os";
import { measureDiskSync } from "./disk-sync.js";

/** Magic numbers of statfs(2). */
const FILE_SYSTEMS = new Map([
  [0xef53, "ext4"],
  [0x01021994, "tmpfs"],
  [0x9123683e, "btrfs"],
  [0x58465342, "xfs"],
  [0x794c7630, "overlayfs"],
  [0x2fc12fc1, "zfs"],
  [0xf2f52010, "f2fs"],
  [0x6969, "nfs"],
]);

/**
 * @typedef {object} Environment
 * @property {string} name as given by --environment
 * @property {string} cpu
 * @property {number} cores
 * @property {number} memoryBytes
 * @property {string} system
 * @property {string} node
 * @property {string} fileSystem of the data directories
 * @property {number} diskSyncMicros median of one write of 128 B and its fdatasync there
 * @property {number} loadBefore runnable processes at the start, 1-minute average; from about 1 on the machine was not quiet
 * @property {string} coldbrook
 * @property {Record<string, string>} peers version of each peer that was run
 */

/**
 * @param {string} directory where data directories are
 * @param {{name: string, peers: Record<string, string>}} options
 * @returns {Promise<Environment>}
 */
export async function describeEnvironment(directory, { name, peers }) {
  const cores = cpus();
  const { type } = await statfs(directory);
  const own = JSON.parse(await readFile(new URL("../../packages/server/package.json", import.meta.url), "utf8"));
  return {
    name,
    cpu: cores[0]?.model.trim() ?? "unknown",
    cores: cores.length,
    memoryBytes: totalmem(),
    system: `${platform()} ${release()} ${arch()}`,
    node: process.version,
    fileSystem: FILE_SYSTEMS.get(type) ?? `0x${type.toString(16)}`,
    diskSyncMicros: measureDiskSync(directory),
    loadBefore: loadavg()[0] ?? 0,
    coldbrook: own.version,
    peers,
  };
}

/** @param {Environment} environment @returns {string} */
export function formatEnvironment({ cpu, cores, node, fileSystem, diskSyncMicros, loadBefore, peers }) {
  const versions = Object.entries(peers).map(([name, version]) => `${name} ${version}`);
  return [
    `${cores} × ${cpu}, Node ${node}, ${fileSystem}, one write+fdatasync ${Math.round(diskSyncMicros)} µs, load before ${loadBefore.toFixed(1)}`,
    ...(versions.length === 0 ? [] : [`peers: ${versions.join("; ")}`]),
    ...(fileSystem === "tmpfs"
      ? ["! the data directories are on a tmpfs: a sync costs nothing there (--data-parent)"]
      : []),
    ...(loadBefore >= 1 ? ["! the machine was busy before the run began: only ratios say anything, and not much"] : []),
  ].join("\n");
}
