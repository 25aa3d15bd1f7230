/** Arguments to a command, and a command's end to an exit code and at most one line on standard error. */
import { readFileSync } from "node:fs";
import { Command, CommanderError, Option } from "commander";
import { CLIENT_OPTIONS, readClientSettings, redact } from "./client-settings.ts";
import { OptionValues } from "./command-spec.ts";
import type { CommandContext, CommandSpec, OptionSpec, ProgramName } from "./command-spec.ts";
import { COMMANDS } from "./commands.ts";
import { Connection } from "./connection.ts";
import { EXIT_CODES, Failure, failureOfAnswer, networkFaultOf, oneLine } from "./failure.ts";
import { SERVER_COMMANDS } from "./server-commands.ts";
import { Terminal } from "./terminal.ts";
import type { TerminalStreams } from "./terminal.ts";

export interface ProgramWorld extends TerminalStreams {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Resolves when the user wants the command to end. */
  readonly interrupted: Promise<void>;
}

/** Runs one command. Returns the exit code; what went wrong is told on standard error. */
export async function runProgram(name: ProgramName, args: readonly string[], world: ProgramWorld): Promise<number> {
  let running = "";
  let secrets: readonly string[] = [];
  const execute = async (spec: CommandSpec, operands: readonly string[], options: OptionValues): Promise<void> => {
    running = ` ${spec.name}${operands[0] === undefined ? "" : ` ${JSON.stringify(operands[0])}`}`;
    const settings = readClientSettings(options, world.environment);
    const token = options.text("token");
    secrets = token === undefined ? settings.secrets : [...settings.secrets, token];
    const terminal = new Terminal(world, settings.quiet);
    const connection = new Connection(settings);
    const context: CommandContext = { program: name, commands: COMMANDS, settings, connection, terminal };
    const interrupted = world.interrupted.then(() => {
      throw new Failure("interrupted", "interrupted");
    });
    await Promise.race([spec.run(context, operands, options), interrupted]);
  };
  try {
    await buildProgram(name, execute, world).parseAsync([...args], { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const failure = failureOf(error, name);
    if (failure.kind !== "interrupted")
      world.stderr.write(`${name}${running}: ${oneLine(redact(failure.message, secrets))}\n`);
    return EXIT_CODES[failure.kind].code;
  }
}

type Execute = (spec: CommandSpec, operands: readonly string[], options: OptionValues) => Promise<void>;

function buildProgram(name: ProgramName, execute: Execute, world: TerminalStreams): Command {
  const program = configured(new Command(name), world)
    .description("durable streams: a server, and a client for any server of the protocol")
    .version(versionOf(new URL("../../../package.json", import.meta.url)), "--version", "show the version")
    .addHelpText("after", () => overview(name));
  for (const option of CLIENT_OPTIONS) program.addOption(optionOf(option));
  for (const spec of COMMANDS) {
    const [noun, verb] = spec.name.split(" ") as [string, string | undefined];
    const parent = verb === undefined ? program : nounCommand(program, noun, world);
    const command = configured(new Command(verb ?? noun), world).description(spec.summary);
    for (const operand of spec.operands) command.argument(operand);
    for (const option of spec.options) command.addOption(optionOf(option));
    command.addHelpText("after", helpEnd(name, spec)).configureHelp({ showGlobalOptions: true });
    command.action(async (...given: unknown[]) => {
      const operands = given
        .slice(0, spec.operands.length)
        .flat()
        .filter((operand) => operand !== undefined);
      await execute(spec, operands as string[], new OptionValues(command.optsWithGlobals()));
    });
    parent.addCommand(command);
  }
  return program;
}

function versionOf(packageFile: URL): string {
  const { version } = JSON.parse(readFileSync(packageFile, "utf8")) as { readonly version: string };
  return version;
}

function nounCommand(program: Command, noun: string, world: TerminalStreams): Command {
  const known = program.commands.find((command) => command.name() === noun);
  if (known !== undefined) return known;
  const command = configured(new Command(noun), world).description("subscriptions that wake workers");
  program.addCommand(command);
  return command;
}

/** Throws instead of leaving the process, and leaves messages of failure to the caller. */
function configured(command: Command, world: TerminalStreams): Command {
  return command
    .exitOverride()
    .showHelpAfterError(false)
    .showSuggestionAfterError(true)
    .helpCommand(false)
    .configureOutput({ writeOut: (text) => void world.stdout.write(text), writeErr: () => undefined });
}

function optionOf(spec: OptionSpec): Option {
  const option = new Option(spec.flags, spec.meaning);
  if (spec.choices !== undefined) option.choices([...spec.choices]);
  if (spec.repeatable === true)
    option.argParser((value: string, before: readonly string[] | undefined) => [...(before ?? []), value]);
  return option;
}

function helpEnd(name: ProgramName, { example, notes }: CommandSpec): string {
  return `${notes === undefined ? "" : `\n${notes}\n`}\nExample:\n  ${name} ${example}`;
}

/** The end of the program's own help: the server's verbs, the exit codes, an example. */
function overview(name: ProgramName): string {
  return [
    "",
    "Server:",
    ...SERVER_COMMANDS.map(
      (command) => `  ${command.name.padEnd(10)} ${command.summary}; settings: ${name} ${command.name} --help`,
    ),
    "",
    "Environment:",
    "  STREAM_URL   URL above all streams, unless --url is given",
    "  STREAM_AUTH  value of the Authorization header, unless --auth is given",
    "",
    "Exit codes:",
    "  0    done",
    ...Object.values(EXIT_CODES).map(({ code, meaning }) => `  ${String(code).padEnd(4)} ${meaning}`),
    "",
    "Example:",
    `  ${name} create hello && ${name} write hello "Hello, world!" && ${name} read hello --no-follow`,
  ].join("\n");
}

/** Anything that a command can throw, as what the user is told. */
function failureOf(error: unknown, name: ProgramName): Failure {
  if (error instanceof Failure) return error;
  if (error instanceof CommanderError) {
    const message = error.code === "commander.help" ? "a command is missing" : error.message.replace(/^error: /, "");
    return new Failure("usage", `${message}; see ${name} --help`);
  }
  const fault = networkFaultOf(error);
  if (fault !== undefined) return new Failure("server", `the connection broke (${fault.code}); run the command again`);
  if (!(error instanceof Error)) return new Failure("failed", String(error));
  if ("status" in error && typeof error.status === "number") {
    return failureOfAnswer(error.status, new Headers(), error.message);
  }
  if (error.name === "DurableStreamError")
    return new Failure("server", `the server's answer cannot be used: ${error.message}`);
  return new Failure("failed", error.message);
}
