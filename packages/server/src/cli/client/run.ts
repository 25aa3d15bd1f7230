/** The client commands in a process: its streams, its signals, its end. */
import { processEnvironment } from "../../settings.ts";
import type { ProgramName } from "./command-spec.ts";
import { runProgram } from "./program.ts";

/** Runs the command and ends the process with its exit code. */
export async function runClient(name: ProgramName, args: readonly string[]): Promise<never> {
  const { stdin, stdout, stderr } = process;
  // The reader of a pipe may have enough: that is no failure of the writer.
  stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    stderr.write(`${name}: cannot write to standard output: ${error.message}\n`);
    process.exit(1);
  });
  stderr.on("error", () => undefined);
  const interrupted = new Promise<void>((resolve) => process.once("SIGINT", () => resolve()));
  const code = await runProgram(name, args, { stdin, stdout, stderr, environment: processEnvironment(), interrupted });
  await new Promise((resolve) => stdout.write("", resolve));
  // Connections may still be open; nothing is under way.
  process.exit(code);
}
