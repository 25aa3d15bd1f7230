/** `completion`: scripts for shells, made of the table of commands. */
import { CLIENT_OPTIONS } from "./client-settings.ts";
import type { CommandSpec, OptionSpec } from "./command-spec.ts";
import { Failure } from "./failure.ts";
import { SERVER_COMMANDS, SERVER_OPTIONS } from "./server-commands.ts";

const PROGRAMS = "coldbrook durable-stream";
const SHELLS = ["bash", "zsh", "fish"] as const;

export const COMPLETION: CommandSpec = {
  name: "completion",
  summary: `print a completion script for ${SHELLS.join(", ")}`,
  operands: ["<shell>"],
  options: [],
  example: "completion bash > coldbrook-completion.bash",
  notes: "bash and zsh: source the file. fish: put it into ~/.config/fish/completions/coldbrook.fish.",
  async run({ commands, terminal }, [shell]) {
    const known = SHELLS.find((name) => name === shell);
    if (known === undefined) throw new Failure("usage", `unknown shell "${shell}" (known: ${SHELLS.join(", ")})`);
    await terminal.print(completionScript(known, commands));
  },
};

interface Entry {
  readonly name: string;
  readonly summary: string;
  readonly options: readonly OptionSpec[];
}

const HELP: OptionSpec = { flags: "--help", meaning: "show help" };

/** @returns the script's text, with a newline at its end */
export function completionScript(shell: (typeof SHELLS)[number], commands: readonly CommandSpec[]): string {
  const entries: readonly Entry[] = [
    ...SERVER_COMMANDS.map(({ name, summary }) => ({ name, summary, options: [...SERVER_OPTIONS, HELP] })),
    ...commands.map(({ name, summary, options }) => ({
      name,
      summary,
      options: [...options, ...CLIENT_OPTIONS, HELP],
    })),
  ];
  if (shell === "fish") return fishScript(entries);
  const script = bashScript(entries);
  return shell === "bash" ? script : `#compdef ${PROGRAMS}\nautoload -U +X bashcompinit && bashcompinit\n${script}`;
}

const longFlag = (option: OptionSpec): string => option.flags.split(" ")[0]!;
const takesValue = (option: OptionSpec): boolean => option.flags.includes("<");
const unique = (words: readonly string[]): readonly string[] => [...new Set(words)];

/** First words, and for a noun its verbs. */
function words(entries: readonly Entry[]): { first: readonly string[]; verbs: ReadonlyMap<string, readonly string[]> } {
  const verbs = new Map<string, string[]>();
  for (const { name } of entries) {
    const [noun, verb] = name.split(" ") as [string, string | undefined];
    if (verb !== undefined) verbs.set(noun, [...(verbs.get(noun) ?? []), verb]);
  }
  return { first: unique(entries.map(({ name }) => name.split(" ")[0]!)), verbs };
}

function bashScript(entries: readonly Entry[]): string {
  const all = entries.flatMap(({ options }) => options);
  const valued = unique(all.filter(takesValue).map(longFlag)).join("|");
  const files = unique(all.filter(({ file }) => file === true).map(longFlag)).join("|");
  const chosen = all.filter(({ choices }) => choices !== undefined);
  const { first, verbs } = words(entries);
  const nouns = [...verbs.keys()];
  return [
    "_coldbrook() {",
    '  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" command="" i word',
    "  COMPREPLY=()",
    '  case "$prev" in',
    ...chosen.map(
      (option) =>
        `    ${longFlag(option)}) COMPREPLY=($(compgen -W "${option.choices!.join(" ")}" -- "$cur")); return ;;`,
    ),
    `    ${files}) COMPREPLY=($(compgen -f -- "$cur")); return ;;`,
    `    ${valued}) return ;;`,
    "  esac",
    "  for ((i = 1; i < COMP_CWORD; i++)); do",
    '    word="${COMP_WORDS[i]}"',
    '    case "$word" in',
    `      ${valued}) i=$((i + 1)) ;;`,
    "      -*) ;;",
    '      *) case "$command" in',
    '           "") command="$word" ;;',
    ...nouns.map((noun) => `           ${noun}) command="${noun} $word" ;;`),
    "         esac ;;",
    "    esac",
    "  done",
    '  case "$command" in',
    `    "") COMPREPLY=($(compgen -W "${[...first, "--help", ...CLIENT_OPTIONS.map(longFlag)].join(" ")}" -- "$cur")) ;;`,
    ...nouns.map((noun) => `    ${noun}) COMPREPLY=($(compgen -W "${verbs.get(noun)!.join(" ")}" -- "$cur")) ;;`),
    `    completion) COMPREPLY=($(compgen -W "${SHELLS.join(" ")}" -- "$cur")) ;;`,
    ...entries
      .filter(({ name }) => name !== "completion")
      .map(
        ({ name, options }) =>
          `    "${name}") [[ "$cur" == -* ]] && COMPREPLY=($(compgen -W "${options.map(longFlag).join(" ")}" -- "$cur")) ;;`,
      ),
    "  esac",
    "}",
    `complete -F _coldbrook ${PROGRAMS}`,
    "",
  ].join("\n");
}

function fishScript(entries: readonly Entry[]): string {
  const { first, verbs } = words(entries);
  const lines: string[] = [];
  for (const program of PROGRAMS.split(" ")) {
    lines.push(`complete -c ${program} -f`);
    for (const word of first) {
      const summary = entries.find(({ name }) => name === word)?.summary ?? "subscriptions";
      lines.push(`complete -c ${program} -n __fish_use_subcommand -a ${word} -d ${quoted(summary)}`);
    }
    for (const [noun, list] of verbs) {
      const none = `__fish_seen_subcommand_from ${noun}; and not __fish_seen_subcommand_from ${list.join(" ")}`;
      for (const verb of list) {
        const summary = entries.find(({ name }) => name === `${noun} ${verb}`)!.summary;
        lines.push(`complete -c ${program} -n ${quoted(none)} -a ${verb} -d ${quoted(summary)}`);
      }
    }
    lines.push(
      `complete -c ${program} -n ${quoted("__fish_seen_subcommand_from completion")} -a ${quoted(SHELLS.join(" "))}`,
    );
    for (const { name, options } of entries) {
      const seen = name.split(" ").map((word) => `__fish_seen_subcommand_from ${word}`);
      // `create` is also a verb of `sub`.
      if (seen.length === 1) seen.push(...[...verbs.keys()].map((noun) => `not __fish_seen_subcommand_from ${noun}`));
      for (const option of options) lines.push(fishOption(program, seen.join("; and "), option));
    }
  }
  return `${lines.join("\n")}\n`;
}

function fishOption(program: string, condition: string, option: OptionSpec): string {
  const parts = [`complete -c ${program} -n ${quoted(condition)} -l ${longFlag(option).slice(2)}`];
  if (option.choices !== undefined) parts.push(`-x -a ${quoted(option.choices.join(" "))}`);
  else if (takesValue(option)) parts.push(option.file === true ? "-r -F" : "-x");
  return [...parts, `-d ${quoted(option.meaning)}`].join(" ");
}

function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}
