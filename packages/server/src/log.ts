/** The operator's log: a line of JSON each on stderr, or readable lines on a terminal. Never request bodies or credentials. */
import { pino } from "pino";
import type { Logger } from "pino";
import pretty from "pino-pretty";

export type Log = Pick<Logger, "info" | "warn" | "error" | "fatal">;

export function openLog(): Log {
  const options = { base: { pid: process.pid }, timestamp: () => `,"time":"${new Date().toISOString()}"` };
  if (process.stderr.isTTY) return pino(options, pretty({ destination: 2, sync: true, ignore: "pid" }));
  return pino(options, pino.destination({ dest: 2, sync: true }));
}

export const SILENT: Log = pino({ level: "silent" });
