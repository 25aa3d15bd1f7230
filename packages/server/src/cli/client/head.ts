/** `head`: what the server tells of a stream (protocol 5.5). */
import type { CommandSpec } from "./command-spec.ts";

/** In the order in which they are printed. */
const FIELDS: readonly (readonly [name: string, header: string])[] = [
  ["content-type", "content-type"],
  ["offset", "stream-next-offset"],
  ["closed", "stream-closed"],
  ["ttl", "stream-ttl"],
  ["expires-at", "stream-expires-at"],
  ["etag", "etag"],
];

export const HEAD: CommandSpec = {
  name: "head",
  summary: "print a stream's type, tail offset and state",
  operands: ["<path>"],
  options: [{ flags: "--json", meaning: "print one JSON object" }],
  example: "head events",
  async run({ connection, terminal }, [path], options) {
    await connection.handle(path!).head();
    const headers = connection.lastAnswer!.headers;
    const fields = FIELDS.map(([name, header]) => [name, headers.get(header)] as const).filter(
      ([name, value]) => value !== null || name === "closed",
    );
    const isClosed = headers.get("stream-closed")?.toLowerCase() === "true";
    if (options.flag("json")) {
      const known = Object.fromEntries(fields.map(([name, value]) => [camel(name), value]));
      await terminal.print(`${JSON.stringify({ ...known, closed: isClosed })}\n`);
      return;
    }
    const lines = fields.map(([name, value]) => `${name}: ${name === "closed" ? isClosed : value}\n`);
    await terminal.print(lines.join(""));
  },
};

function camel(name: string): string {
  return name.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
