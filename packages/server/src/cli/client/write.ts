/** `write`: POST of an argument, a file or standard input, in bounded pieces (protocol 5.2). */
import type { Readable } from "node:stream";
import type { HeadResult } from "@durable-streams/client";
import type { CommandContext, CommandSpec, OptionValues } from "./command-spec.ts";
import {
  argumentBytes,
  CONTENT_OPTIONS,
  CONTENT_TYPE_OPTIONS,
  contentTypeOf,
  isJson,
  isText,
  jsonElements,
  jsonValue,
  openContent,
  readWhole,
  WHOLE_BYTES_MAX,
} from "./content.ts";
import type { Content } from "./content.ts";
import { Failure } from "./failure.ts";
import { Outbox } from "./outbox.ts";
import { formatBytes, openProgress } from "./progress.ts";
import type { Progress } from "./progress.ts";
import { PlainSender, ProducerSender } from "./senders.ts";
import type { Sender } from "./senders.ts";

/** The content of one request, unless one JSON value is larger. */
export const PIECE_BYTES: number = 1024 * 1024;

export const WRITE: CommandSpec = {
  name: "write",
  summary: "append to a stream",
  operands: ["<path>", "[content...]"],
  options: [
    ...CONTENT_TYPE_OPTIONS,
    ...CONTENT_OPTIONS,
    { flags: "--close", meaning: "close the stream together with the last bytes" },
    { flags: "--seq <text>", meaning: "Stream-Seq: refused unless it is greater than the one before" },
    {
      flags: "--producer-id <id>",
      meaning: "write exactly once: the same command run again, after any failure, stores nothing twice",
    },
    {
      flags: "--producer-epoch <number>",
      meaning: "the producer's epoch (0); a new write of the same producer needs a higher one",
    },
  ],
  example: `write events '{"event": "user.created"}' --json`,
  notes: [
    "Without content, standard input is read until it ends. Without --json or --content-type the server is asked",
    "for the stream's type. Escapes \\n, \\t, \\r and \\\\ in an argument stand for what they usually do.",
    "With --json the content is one JSON value and one message, even if it is an array; it is stored digit by digit.",
  ].join("\n"),
  async run(context, [path, ...words], options) {
    const content = await openContent(context, words, options, true);
    const writing = await openWriting(context, path!, options, content);
    if (content === undefined) {
      if (!writing.closes || words.length > 0) throw new Failure("usage", noContent(context.program, path!));
      await writing.sender.close(undefined);
      return context.terminal.say(`Closed stream "${path}"`);
    }
    const progress = openProgress(
      context.terminal,
      "writing",
      content.kind === "stream" ? content.totalBytes : undefined,
    );
    try {
      const { bytes, messages } = await transfer(writing, content, progress);
      if (messages === 0 && !writing.closes && !writing.batch)
        throw new Failure("usage", `nothing to write: ${nameOf(content)} is empty`);
      progress.stop();
      await context.terminal.say(report(writing, path!, bytes, messages));
    } finally {
      progress.stop();
    }
  },
};

interface Writing {
  readonly sender: Sender;
  readonly contentType: string;
  readonly json: boolean;
  readonly batch: boolean;
  readonly raw: boolean;
  readonly closes: boolean;
  /** Pieces must not depend on when content arrives. */
  readonly exact: boolean;
  readonly pieceBytes: number;
}

async function openWriting(
  context: CommandContext,
  path: string,
  options: OptionValues,
  content: Content | undefined,
): Promise<Writing> {
  const { connection } = context;
  const seq = options.text("seq");
  const id = options.text("producerId");
  const epoch = options.count("producerEpoch");
  if (epoch !== undefined && id === undefined) throw new Failure("usage", "--producer-epoch needs --producer-id");
  const contentType = contentTypeOf(options) ?? typeOfStream(await connection.handle(path).head());
  const handle = connection.handle(path, { contentType, headers: seq === undefined ? {} : { "Stream-Seq": seq } });
  return {
    sender:
      id === undefined ? new PlainSender(handle) : new ProducerSender(connection, handle, { id, epoch: epoch ?? 0 }),
    contentType,
    json: isJson(contentType),
    batch: options.flag("batchJson"),
    raw: options.flag("raw"),
    closes: options.flag("close"),
    // Only content that somebody may still be making is sent before it fills a piece.
    exact: id !== undefined || seq !== undefined || content?.kind === "text" || content?.totalBytes !== undefined,
    // A second piece would need a second Stream-Seq.
    pieceBytes: seq === undefined ? PIECE_BYTES : WHOLE_BYTES_MAX,
  };
}

function typeOfStream(head: HeadResult): string {
  return (head.exists ? head.contentType : undefined) ?? "application/octet-stream";
}

/** Sends all of the content. Returns what the server acknowledged. */
async function transfer(
  writing: Writing,
  content: Content,
  progress: Progress,
): Promise<{ bytes: number; messages: number }> {
  const { sender, closes, json } = writing;
  const unit = json ? "json" : isText(writing.contentType) ? "text" : "bytes";
  const outbox = new Outbox({ pieceBytes: writing.pieceBytes, unit, exact: writing.exact });
  const filling = fill(outbox, writing, content);
  let bytes = 0;
  let messages = 0;
  let isClosed = false;
  try {
    for (let piece = await outbox.take(); piece !== undefined; piece = await outbox.take()) {
      isClosed = piece.isLast && closes;
      await (isClosed ? sender.close(piece.bytes) : sender.send(piece.bytes));
      bytes += piece.bytes.length;
      messages += piece.messages;
      progress.add(piece.bytes.length);
    }
    await filling;
    if (closes && !isClosed) await sender.close(undefined);
    return { bytes, messages };
  } catch (error) {
    outbox.fail(error as Error);
    if (content.kind === "stream") content.stream.destroy();
    throw bytes === 0 ? error : partial(error, bytes, messages, json);
  }
}

/** Moves the content into the outbox; a fault of the content fails the outbox. */
async function fill(outbox: Outbox, writing: Writing, content: Content): Promise<void> {
  try {
    if (writing.json) {
      for await (const element of elementsOf(writing, content)) await outbox.push(Buffer.from(element));
    } else if (content.kind === "text") {
      await outbox.push(argumentBytes(content.text, false, writing.raw));
    } else {
      for await (const part of content.stream as AsyncIterable<Buffer>) await outbox.push(part);
    }
    outbox.end();
  } catch (error) {
    outbox.fail(error as Error);
  }
}

async function* elementsOf(writing: Writing, content: Content): AsyncGenerator<string> {
  const name = nameOf(content);
  const isArgument = content.kind === "text";
  if (writing.batch) {
    yield* jsonElements(isArgument ? [argumentBytes(content.text, true, writing.raw)] : bytesOf(content.stream), name);
    return;
  }
  const whole = isArgument
    ? argumentBytes(content.text, true, writing.raw)
    : await readWhole(content.stream, name, WHOLE_BYTES_MAX);
  if (whole.length > 0) yield jsonValue(whole, name);
}

async function* bytesOf(stream: Readable): AsyncGenerator<Uint8Array> {
  for await (const part of stream as AsyncIterable<Buffer>) yield part;
}

function nameOf(content: Content): string {
  return content.kind === "text" ? "the content" : content.name;
}

/** A failure in the middle says how far it came. */
function partial(error: unknown, bytes: number, messages: number, json: boolean): unknown {
  if (!(error instanceof Failure)) return error;
  const done = json ? `${messages} messages` : formatBytes(bytes);
  return new Failure(error.kind, `${error.message} (${done} were written before)`, error.inDoubt);
}

function report({ json, batch, closes, sender }: Writing, path: string, bytes: number, messages: number): string {
  const what = !json
    ? formatBytes(bytes)
    : batch
      ? `${messages} message${messages === 1 ? "" : "s"}`
      : "1 JSON message";
  const state = `${closes ? " and closed it" : ""}${sender.wasDuplicate ? " (it was there already)" : ""}`;
  return `Wrote ${what} to stream "${path}"${state}`;
}

function noContent(program: string, path: string): string {
  return `no content: give it as an argument, by --input, or on standard input: echo hello | ${program} write ${path}`;
}
