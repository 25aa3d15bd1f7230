/** The operator's log: a line of JSON each on stderr, or readable lines on a terminal. Never request bodies or credentials. */
import { pino } from "pino";
import type { DestinationStream, Logger } from "pino";

export type Log = Pick<Logger, "info" | "warn" | "error" | "fatal">;

export async function openLog(): Promise<Log> {
  const options = { base: { pid: process.pid }, timestamp: () => `,"time":"${new Date().toISOString()}"` };
  const log: Log = pino(options, await destination());
  return log;
}

export const SILENT: Log = pino({ level: "silent" });

async function destination(): Promise<DestinationStream> {
  if (!process.stderr.isTTY) return pino.destination({ dest: 2, sync: true });
  const { default: pretty } = await import("pino-pretty");
  return pretty({ destination: 2, sync: true, ignore: "pid" });
}
