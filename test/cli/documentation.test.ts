/** The tables of docs/cli.md are the program's own. */
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { CLIENT_OPTIONS } from "../../packages/server/src/cli/client/client-settings.ts";
import { COMMANDS } from "../../packages/server/src/cli/client/commands.ts";
import { EXIT_CODES } from "../../packages/server/src/cli/client/failure.ts";

const page = await readFile(new URL("../../docs/cli.md", import.meta.url), "utf8");
const rows = page.split("\n").filter((line) => line.startsWith("|"));

test("every exit code is documented with its meaning", () => {
  for (const { code, meaning } of Object.values(EXIT_CODES)) {
    const row = rows.find((line) => line.startsWith(`| ${code} `));
    expect(row?.replaceAll("`", "")).toContain(meaning);
  }
});

test("every command and every option of all commands is documented", () => {
  const table = rows.join("\n");
  for (const { name } of COMMANDS) expect(table).toContain(`\`${name}`);
  for (const { flags } of CLIENT_OPTIONS) expect(table).toContain(`\`${flags.split(" ")[0]}`);
});
