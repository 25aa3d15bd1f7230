/** The server's own verbs as help and completion show them. They parse their settings themselves. */
import { SETTINGS } from "../../settings.ts";
import type { OptionSpec } from "./command-spec.ts";

export interface ServerCommand {
  readonly name: string;
  readonly summary: string;
  readonly example: string;
}

export const SERVER_COMMANDS: readonly ServerCommand[] = [
  {
    name: "serve",
    summary: "serve streams until SIGTERM",
    example: "serve --port 4437 --store s3://my-bucket/streams",
  },
  { name: "check", summary: "verify every checksum of a stopped server", example: "check --data-dir ./streams-data" },
  { name: "rebuild", summary: "make a stopped server's catalog anew", example: "rebuild --data-dir ./streams-data" },
];

export const SERVER_OPTIONS: readonly OptionSpec[] = Object.values(SETTINGS).map((row) => ({
  flags: `--${row.flag} <value>`,
  meaning: row.meaning,
  file: row.flag === "data-dir",
}));
