/** The `coldbrook` command: serve, check, rebuild. */
import type { FaultPoint } from "@coldbrook/core";
import { startColdbrook } from "../compose.ts";
import { openLog } from "../log.ts";
import type { Log } from "../log.ts";
import { processEnvironment, readSettings, SettingError, SETTINGS } from "../settings.ts";
import type { Settings } from "../settings.ts";
import { check } from "./check.ts";
import { rebuild } from "./rebuild.ts";

export interface MainOptions {
  /** For tests: called at each named durability step. */
  readonly faultPoint?: FaultPoint;
}

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

/** Runs the command; the process ends by itself when it is done. `args` are those after the program's name. */
export async function main(args: readonly string[], options: MainOptions = {}): Promise<void> {
  const [command, ...rest] = args;
  if (command === undefined || command === "help" || rest.includes("--help") || command === "--help") {
    process.stdout.write(usage());
    return;
  }
  try {
    const run = COMMANDS[command];
    if (run === undefined)
      throw new SettingError(`unknown command "${command}" (known: ${Object.keys(COMMANDS).join(", ")})`);
    process.exitCode = await run(readSettings(rest, processEnvironment()), options);
  } catch (error) {
    process.stderr.write(`coldbrook: ${(error as Error).message}\n`);
    process.exitCode = error instanceof SettingError ? EXIT_USAGE : EXIT_FAILED;
    // Sockets of the object store may still be open; nothing is under way.
    process.exit();
  }
}

const COMMANDS: Readonly<Record<string, (settings: Settings, options: MainOptions) => Promise<number>>> = {
  serve,
  check: (settings) => check(settings, (line) => process.stdout.write(`${line}\n`)),
  rebuild: (settings) => rebuild(settings, (line) => process.stdout.write(`${line}\n`)),
};

async function serve(settings: Settings, options: MainOptions): Promise<number> {
  const log = openLog();
  // Before anyone can know that the server runs, so that no signal ends it by default.
  const signalled = new Promise<string>((resolve) => {
    for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, () => resolve(name));
  });
  const coldbrook = await startColdbrook(settings, { ...options, log, onFatal: (error) => die(log, error) });
  process.on("uncaughtException", (error) => die(log, error));
  process.stdout.write(`Coldbrook listening on ${coldbrook.url}\n`);
  log.info({ url: coldbrook.url, store: settings.store, dataDir: settings.dataDir }, "serving");
  log.info({ signal: await signalled }, "draining");
  await coldbrook.close();
  log.info({}, "stopped");
  process.exit(0);
}

/** Stops at once: what was not acknowledged is decided by recovery (invariant 7). */
function die(log: Log, error: Error): never {
  log.fatal({ err: error }, `${error.message}; stopping, the next start replays the write-ahead log`);
  process.exit(EXIT_FAILED);
}

function usage(): string {
  const rows = Object.values(SETTINGS).map((row) => {
    const fallback = row.fallback === "" ? "file:<data-dir>/objects" : row.fallback;
    return `  --${row.flag.padEnd(16)} ${row.environment.padEnd(28)} ${row.meaning} (${fallback})`;
  });
  return [
    "coldbrook serve     serves streams until SIGTERM",
    "coldbrook check     verifies every checksum, extent and reference of a stopped server",
    "coldbrook rebuild   makes the catalog of a stopped server anew from the object store and the write-ahead log",
    "",
    "Settings, each a flag or a variable:",
    ...rows,
    "",
    "S3 endpoint, region and credentials: the AWS standard environment (AWS_ENDPOINT_URL_S3, AWS_REGION, ...).",
    "Example: coldbrook serve --port 4437 --store s3://my-bucket/streams",
    "",
  ].join("\n");
}
