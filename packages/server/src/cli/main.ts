/** The `coldbrook` command: serve, check, rebuild, and the commands for streams on any server. */
import type { FaultPoint } from "@coldbrook/core";
import type { Log } from "../log.ts";
import { processEnvironment, readSettings, SettingError, SETTINGS } from "../settings.ts";
import type { Settings } from "../settings.ts";

export interface MainOptions {
  /** The name the program was called by; `durable-stream` follows when it reads. */
  readonly program?: "coldbrook" | "durable-stream";
  /** For tests: called at each named durability step. */
  readonly faultPoint?: FaultPoint;
}

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;

/** Runs the command; the process ends by itself when it is done. `args` are those after the program's name. */
export async function main(args: readonly string[], options: MainOptions = {}): Promise<void> {
  const [command = "help", ...rest] = args;
  const run = Object.hasOwn(COMMANDS, command) ? COMMANDS[command] : undefined;
  if (run === undefined) {
    // The server's parts take a while to load; each side loads its own.
    const { runClient } = await import("./client/run.ts");
    return runClient(options.program ?? "coldbrook", command === "help" ? [...rest, "--help"] : args);
  }
  if (rest.includes("--help")) {
    process.stdout.write(usage());
    return;
  }
  try {
    process.exitCode = await run(readSettings(rest, processEnvironment()), options);
  } catch (error) {
    process.stderr.write(`coldbrook: ${(error as Error).message}${advice(error)}\n`);
    process.exitCode = error instanceof SettingError ? EXIT_USAGE : EXIT_FAILED;
    // Sockets of the object store may still be open; nothing is under way.
    process.exit();
  }
}

const COMMANDS: Readonly<Record<string, (settings: Settings, options: MainOptions) => Promise<number>>> = {
  serve,
  check: async (settings) => {
    const { check } = await import("./check.ts");
    return check(settings, (line) => process.stdout.write(`${line}\n`));
  },
  rebuild: async (settings) => {
    const { rebuild } = await import("./rebuild.ts");
    return rebuild(settings, (line) => process.stdout.write(`${line}\n`));
  },
};

async function serve(settings: Settings, options: MainOptions): Promise<number> {
  const { startColdbrook } = await import("../compose.ts");
  const { openLog } = await import("../log.ts");
  const log = await openLog();
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

/** What to do about an error that the system words. */
function advice(error: unknown): string {
  const isFull = error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT");
  return isFull ? "; free some space on the disk of --data-dir, then start again" : "";
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
