/** Where the content of `write` and `create` comes from, and what it is. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import type { CommandContext, OptionSpec, OptionValues } from "./command-spec.ts";
import { Failure } from "./failure.ts";
import { checkJson, JsonElements, JsonTextError } from "./json-elements.ts";

export const CONTENT_TYPE_OPTIONS: readonly OptionSpec[] = [
  { flags: "--content-type <type>", meaning: "the stream's content type" },
  { flags: "--json", meaning: "the same as --content-type application/json" },
];

export const CONTENT_OPTIONS: readonly OptionSpec[] = [
  { flags: "--input <file>", meaning: "take the content from a file; - is standard input", file: true },
  { flags: "--batch-json", meaning: "the content is a JSON array, each element a message (implies --json)" },
  { flags: "--raw", meaning: "keep \\n, \\t, \\r and \\\\ in the argument as they are" },
];

/** One JSON value, and what must fit into one request. */
export const WHOLE_BYTES_MAX: number = 256 * 1024 * 1024;

export type Content =
  | { readonly kind: "text"; readonly text: string }
  | {
      readonly kind: "stream";
      readonly stream: Readable;
      readonly name: string;
      readonly totalBytes: number | undefined;
    };

/** The type the options ask for, if they do. */
export function contentTypeOf(options: OptionValues): string | undefined {
  const type = options.text("contentType");
  if (!options.flag("json") && !options.flag("batchJson")) return type;
  if (type !== undefined && !isJson(type))
    throw new Failure("usage", `--json and --content-type ${type} contradict each other; leave one out`);
  return type ?? "application/json";
}

export function isJson(contentType: string): boolean {
  return mediaType(contentType) === "application/json";
}

/** Readers over SSE see text, so it is not cut inside of a character. */
export function isText(contentType: string): boolean {
  return mediaType(contentType).startsWith("text/");
}

function mediaType(contentType: string): string {
  return contentType.split(";")[0]!.trim().toLowerCase();
}

/** Content of the arguments, of --input, or, when `readsStdin`, of a standard input that is no terminal. */
export async function openContent(
  context: CommandContext,
  words: readonly string[],
  options: OptionValues,
  readsStdin: boolean,
): Promise<Content | undefined> {
  const input = options.text("input");
  const text = words.join(" ");
  if (input !== undefined && words.length > 0)
    throw new Failure("usage", "give the content as an argument or by --input, not both");
  if (text !== "") return { kind: "text", text };
  const { stdin } = context.terminal;
  if (input === "-" || (input === undefined && readsStdin && words.length === 0 && stdin.isTTY !== true)) {
    return { kind: "stream", stream: stdin, name: "standard input", totalBytes: undefined };
  }
  return input === undefined ? undefined : openFile(input);
}

async function openFile(file: string): Promise<Content> {
  const stats = await stat(file);
  if (stats.isDirectory()) throw new Failure("usage", `${file} is a directory`);
  const totalBytes = stats.isFile() ? stats.size : undefined;
  return { kind: "stream", stream: createReadStream(file, { highWaterMark: 256 * 1024 }), name: file, totalBytes };
}

/** The documented escapes of content on the command line: \n, \t, \r and \\. */
export function unescape(text: string): string {
  const literal: Readonly<Record<string, string>> = { n: "\n", t: "\t", r: "\r", "\\": "\\" };
  return text.replaceAll(/\\([ntr\\])/g, (_, letter: string) => literal[letter]!);
}

/** The bytes of an argument. JSON has escapes of its own, so its text is only changed where it is no JSON otherwise. */
export function argumentBytes(text: string, json: boolean, raw: boolean): Uint8Array {
  if (raw) return Buffer.from(text);
  if (!json) return Buffer.from(unescape(text));
  try {
    return Buffer.from(checkJson(Buffer.from(text)));
  } catch {
    return Buffer.from(unescape(text));
  }
}

/** All of a stream. @throws Failure past `bytesMax` */
export async function readWhole(stream: Readable, name: string, bytesMax: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of stream as AsyncIterable<Buffer>) {
    parts.push(part);
    bytes += part.length;
    if (bytes > bytesMax)
      throw new Failure("usage", `${name} has more than ${bytesMax} bytes, too many for one request`);
  }
  return Buffer.concat(parts);
}

/** The elements of one JSON array as they arrive, or the one other value; each is checked. @throws Failure */
export async function* jsonElements(
  parts: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  name: string,
): AsyncGenerator<string> {
  const elements = new JsonElements();
  let count = 0;
  try {
    for await (const part of parts) {
      for (const element of elements.push(part)) {
        count += 1;
        yield checkJson(element);
      }
      if (elements.values > 1) throw new JsonTextError("there is more than one value; --batch-json takes one array");
    }
    for (const element of elements.end()) yield checkJson(element);
    if (elements.values > 1) throw new JsonTextError("there is more than one value; --batch-json takes one array");
  } catch (error) {
    if (!(error instanceof JsonTextError)) throw error;
    throw new Failure("usage", `${name} is not JSON (after ${count} elements): ${error.message}`);
  }
}

/** One whole JSON value. @throws Failure */
export function jsonValue(bytes: Uint8Array, name: string): string {
  try {
    return checkJson(bytes);
  } catch (error) {
    if (!(error instanceof JsonTextError)) throw error;
    throw new Failure("usage", `${name} is not one JSON value: ${error.message}`);
  }
}
