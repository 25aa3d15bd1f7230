// kill -9 for as long as one likes: `pnpm build && node test/crash/torture.js --rounds 1000`. A hundred rounds on each store
// without it, both at once; `--seed N` repeats a run's choices, `--store directory` or `--store s3` leaves the other one out, `--acks N` kills
// after at most so many acknowledgements, and what follows `--` goes to vitest. CRASH_ROUNDS, CRASH_SEED and CRASH_ACKS say the
// same. The last line of each store is its result.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  options: {
    rounds: { type: "string" },
    seed: { type: "string" },
    store: { type: "string" },
    acks: { type: "string" },
  },
  allowPositionals: true,
});
/** @type {Record<string, string>} */
const FILES = { directory: "test/crash/kill.test.ts", s3: "test/crash/kill-s3.test.ts" };
const file = values.store === undefined ? undefined : FILES[values.store];
if (values.store !== undefined && file === undefined) {
  throw new Error(`--store must be directory or s3, not "${values.store}"`);
}
const root = fileURLToPath(new URL("../..", import.meta.url));
const vitest = fileURLToPath(new URL("../../node_modules/vitest/vitest.mjs", import.meta.url));
const files = file === undefined ? Object.values(FILES) : [file];
const args = [vitest, "run", "--project", "crashes", ...files, ...positionals];
const rounds = values.rounds ?? process.env.CRASH_ROUNDS ?? "100";
const seed = values.seed ?? process.env.CRASH_SEED;
const acks = values.acks ?? process.env.CRASH_ACKS;
const env = {
  ...process.env,
  CRASH_ROUNDS: rounds,
  ...(seed === undefined ? {} : { CRASH_SEED: seed }),
  ...(acks === undefined ? {} : { CRASH_ACKS: acks }),
};
spawn(process.execPath, args, { cwd: root, env, stdio: "inherit" }).on("exit", (code) => {
  process.exitCode = code ?? 1;
});
