// The acceptance's hundred kills for each store: `pnpm build && node test/crash/torture.js`. CRASH_ROUNDS and CRASH_SEED
// are passed on, and so are the arguments, to vitest.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const vitest = fileURLToPath(new URL("../../node_modules/vitest/vitest.mjs", import.meta.url));
const args = [vitest, "run", "--project", "full", "test/crash/kill.test.ts", ...process.argv.slice(2)];
const env = { ...process.env, CRASH_ROUNDS: process.env.CRASH_ROUNDS ?? "100" };
spawn(process.execPath, args, { cwd: root, env, stdio: "inherit" }).on("exit", (code) => {
  process.exitCode = code ?? 1;
});
