/** `create`: PUT, with the first content when there is some (protocol 5.1). */
import type { CommandSpec, OptionSpec, OptionValues } from "./command-spec.ts";
import {
  argumentBytes,
  CONTENT_OPTIONS,
  CONTENT_TYPE_OPTIONS,
  contentTypeOf,
  isJson,
  jsonElements,
  jsonValue,
  openContent,
  readWhole,
  WHOLE_BYTES_MAX,
} from "./content.ts";
import { Failure } from "./failure.ts";

const DEFAULT_TYPE = "application/octet-stream";

export const LIFETIME_OPTIONS: readonly OptionSpec[] = [
  { flags: "--ttl <seconds>", meaning: "delete the stream when nobody uses it for so long" },
  { flags: "--expires-at <time>", meaning: "delete the stream at this time, such as 2030-01-31T12:00:00Z" },
];

export const CREATE: CommandSpec = {
  name: "create",
  summary: "create a stream",
  operands: ["<path>", "[content...]"],
  options: [
    ...CONTENT_TYPE_OPTIONS,
    ...LIFETIME_OPTIONS,
    { flags: "--closed", meaning: "close the stream at once: its content is final" },
    ...CONTENT_OPTIONS,
  ],
  example: "create events --json",
  notes: `The content type is ${DEFAULT_TYPE} unless one is given. A second create with the same settings succeeds.`,
  async run(context, [path, ...words], options) {
    const { connection, terminal } = context;
    const contentType = contentTypeOf(options) ?? DEFAULT_TYPE;
    const { ttlSeconds, expiresAt } = lifetimeOf(options);
    const content = await openContent(context, words, options, false);
    const name = content?.kind === "stream" ? content.name : "the content";
    const bytes =
      content === undefined
        ? undefined
        : content.kind === "text"
          ? argumentBytes(content.text, isJson(contentType), options.flag("raw"))
          : await readWhole(content.stream, name, WHOLE_BYTES_MAX);
    const body =
      bytes === undefined ? undefined : await requestBody(bytes, name, contentType, options.flag("batchJson"));
    await connection.handle(path!).create({
      contentType,
      ...(ttlSeconds === undefined ? {} : { ttlSeconds }),
      ...(expiresAt === undefined ? {} : { expiresAt }),
      ...(body === undefined ? {} : { body }),
      closed: options.flag("closed"),
    });
    const isNew = connection.lastAnswer?.status === 201;
    await terminal.say(
      isNew ? `Stream created successfully: "${path}"` : `Stream exists already, as asked for: "${path}"`,
    );
    await terminal.say(`  URL: ${connection.streamUrl(path!)}`);
  },
};

/** A PUT's array is flattened by the server, so one value goes in as an array of one. */
async function requestBody(bytes: Uint8Array, name: string, contentType: string, batch: boolean): Promise<Uint8Array> {
  if (!isJson(contentType)) return bytes;
  if (!batch) return Buffer.from(`[${jsonValue(bytes, name)}]`);
  const elements: string[] = [];
  for await (const element of jsonElements([bytes], name)) elements.push(element);
  return Buffer.from(`[${elements.join(",")}]`);
}

export function lifetimeOf(options: OptionValues): { ttlSeconds: number | undefined; expiresAt: string | undefined } {
  const ttlSeconds = options.count("ttl");
  const expiresAt = options.text("expiresAt");
  if (ttlSeconds !== undefined && expiresAt !== undefined)
    throw new Failure("usage", "--ttl and --expires-at contradict each other; give one");
  if (expiresAt !== undefined && Number.isNaN(Date.parse(expiresAt)))
    throw new Failure("usage", `--expires-at must be a time such as 2030-01-31T12:00:00Z, not "${expiresAt}"`);
  return { ttlSeconds, expiresAt };
}
