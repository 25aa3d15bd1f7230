// @ts-check
/** A MinIO of our own for the cold case: its binary from PATH or from where the tests build it, its data in a directory that goes with it. */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { send } from "./http-client.js";
import { freePort } from "./peer-server.js";
import { findOnPath, isThere } from "./peers.js";

const CACHED = fileURLToPath(new URL("../../.cache/bin/minio", import.meta.url));
const ACCESS_KEY = "coldbrook-bench";
const READY_MS = 60_000;
const STOP_MS = 10_000;

/** @typedef {{AWS_ACCESS_KEY_ID: string, AWS_SECRET_ACCESS_KEY: string}} MinioKeys */

/** @returns {Promise<string | null>} */
export async function findMinio() {
  return (await findOnPath("minio")) ?? ((await isThere(CACHED)) ? CACHED : null);
}

/**
 * @param {string} binary
 * @returns {Promise<{endpoint: string, keys: MinioKeys, stop: () => Promise<void>}>}
 */
export async function startMinio(binary) {
  const directory = await mkdtemp(join(tmpdir(), "coldbrook-bench-minio-"));
  const port = await freePort();
  const secret = randomUUID();
  const child = spawn(binary, ["server", directory, "--address", `127.0.0.1:${port}`, "--quiet"], {
    env: {
      ...process.env,
      MINIO_ROOT_USER: ACCESS_KEY,
      MINIO_ROOT_PASSWORD: secret,
      MINIO_BROWSER: "off",
      MINIO_UPDATE: "off",
    },
    stdio: "ignore",
  });
  let ended = false;
  child.once("exit", () => {
    ended = true;
  });
  child.once("error", () => {
    ended = true;
  });
  // A run that is interrupted must not leave a server behind.
  const killNow = () => void child.kill("SIGKILL");
  process.once("exit", killNow);
  const stop = async () => {
    process.removeListener("exit", killNow);
    if (!ended) {
      const exit = once(child, "exit");
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
      await exit;
      clearTimeout(timer);
    }
    await rm(directory, { recursive: true, force: true });
  };
  const address = { host: "127.0.0.1", port };
  for (const deadline = Date.now() + READY_MS; Date.now() < deadline && !ended; await wait(50)) {
    const answer = await send(address, { method: "GET", path: "/minio/health/ready" }).catch(() => null);
    if (answer?.status !== 200) continue;
    const keys = { AWS_ACCESS_KEY_ID: ACCESS_KEY, AWS_SECRET_ACCESS_KEY: secret };
    return { endpoint: `http://127.0.0.1:${port}`, keys, stop };
  }
  await stop();
  throw new Error(`${binary} does not start`);
}
