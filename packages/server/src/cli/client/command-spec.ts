/** What a command is: the table that parsing, help, shell completion and the tests are made of. */
import type { ClientSettings } from "./client-settings.ts";
import type { Connection } from "./connection.ts";
import { Failure } from "./failure.ts";
import type { Terminal } from "./terminal.ts";

export interface OptionSpec {
  /** Long flag, with `<value>` where it takes one. */
  readonly flags: string;
  readonly meaning: string;
  readonly choices?: readonly string[];
  /** May be given many times. */
  readonly repeatable?: boolean;
  /** The value names a file. */
  readonly file?: boolean;
}

export interface CommandSpec {
  /** One word, or two for a noun and its verb. */
  readonly name: string;
  readonly summary: string;
  /** In commander's notation: `<path>`, `[content...]`. */
  readonly operands: readonly string[];
  readonly options: readonly OptionSpec[];
  /** One line to paste, without the program's name. */
  readonly example: string;
  /** Further lines of help. */
  readonly notes?: string;
  run(context: CommandContext, operands: readonly string[], options: OptionValues): Promise<void>;
}

/** A command's place in the world: all that it may touch. */
export interface CommandContext {
  /** The name the program was called by. */
  readonly program: ProgramName;
  readonly commands: readonly CommandSpec[];
  readonly settings: ClientSettings;
  readonly connection: Connection;
  readonly terminal: Terminal;
}

export type ProgramName = "coldbrook" | "durable-stream";

/** Parsed options by name in camel case, read with their types. */
export class OptionValues {
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values;
  }

  /** @throws Failure when it is there and empty */
  text(name: string): string | undefined {
    const value = this.#values[name];
    if (value === undefined) return undefined;
    if (value === "") throw new Failure("usage", `${flagOf(name)} needs a value`);
    return String(value);
  }

  flag(name: string): boolean {
    return this.#values[name] === true;
  }

  /** Undefined when neither the flag nor its `--no-` form was given. */
  choice(name: string): boolean | undefined {
    const value = this.#values[name];
    return typeof value === "boolean" ? value : undefined;
  }

  list(name: string): readonly string[] {
    const value = this.#values[name];
    return Array.isArray(value) ? (value as readonly string[]) : [];
  }

  /** @throws Failure unless it is a whole number */
  count(name: string): number | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    if (!/^\d{1,15}$/.test(text)) throw new Failure("usage", `${flagOf(name)} must be a whole number, not "${text}"`);
    return Number(text);
  }
}

function flagOf(name: string): string {
  return `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}
