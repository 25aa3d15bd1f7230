/** `fork`: a new stream that begins as another one's past (protocol 4.2). */
import type { CommandSpec } from "./command-spec.ts";
import { lifetimeOf, LIFETIME_OPTIONS } from "./create.ts";
import { Failure } from "./failure.ts";
import { streamPathname } from "./stream-url.ts";

export const FORK: CommandSpec = {
  name: "fork",
  summary: "create a stream that begins with another one's content",
  operands: ["<source>", "<target>"],
  options: [
    { flags: "--offset <offset>", meaning: "where the fork leaves its source (the source's tail)" },
    { flags: "--sub-offset <count>", meaning: "so many JSON messages, or bytes, further than --offset" },
    { flags: "--content-type <type>", meaning: "must be the source's own type" },
    ...LIFETIME_OPTIONS,
  ],
  example: "fork events events-copy",
  notes: "The fork has its source's type and lifetime unless a lifetime is given.",
  async run({ connection, terminal }, [source, target], options) {
    const { ttlSeconds, expiresAt } = lifetimeOf(options);
    const offset = options.text("offset");
    const subOffset = options.count("subOffset");
    if (subOffset !== undefined && offset === undefined) throw new Failure("usage", "--sub-offset needs --offset");
    const fields: readonly (readonly [string, string | number | undefined])[] = [
      ["Stream-Forked-From", streamPathname(connection.baseUrl, source!)],
      ["Stream-Fork-Offset", offset],
      ["Stream-Fork-Sub-Offset", subOffset],
      ["Stream-TTL", ttlSeconds],
      ["Stream-Expires-At", expiresAt],
      ["Content-Type", options.text("contentType")],
    ];
    const url = connection.streamUrl(target!);
    const headers = new Headers(connection.headers);
    for (const [name, value] of fields) if (value !== undefined) headers.set(name, String(value));
    const answer = await connection.fetch(url, { method: "PUT", headers });
    const verb = answer.status === 201 ? "Forked" : "Forked already, as asked for:";
    await terminal.say(`${verb} "${source}" to "${target}"`);
    await terminal.say(`  URL: ${url}`);
  },
};
