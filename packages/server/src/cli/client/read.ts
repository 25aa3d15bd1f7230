/** `read`: catch-up to the tail, and on from there with --follow (protocol 5.6 to 5.8). */
import { open } from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import { stream } from "@durable-streams/client";
import type { LiveMode, StreamOptions, StreamResponse } from "@durable-streams/client";
import type { CommandContext, CommandSpec } from "./command-spec.ts";
import { NO_BACKOFF, wholeAnswer } from "./connection.ts";
import { Failure, networkFaultOf } from "./failure.ts";
import { JsonElements, JsonTextError } from "./json-elements.ts";
import { openProgress } from "./progress.ts";
import type { Progress } from "./progress.ts";

/** Broken transfers in a row that bring nothing new. */
const BROKEN_MAX = 8;
const FIRST_DELAY_MS = 100;
const DELAY_MS_MAX = 5_000;

export const READ: CommandSpec = {
  name: "read",
  summary: "print a stream, and follow it",
  operands: ["<path>"],
  options: [
    { flags: "--follow", meaning: "go on until the stream is closed or Ctrl+C (what durable-stream does by default)" },
    { flags: "--no-follow", meaning: "stop at the tail (what coldbrook does by default)" },
    {
      flags: "--live <mode>",
      meaning: "follow by long-poll or sse (long-poll); implies --follow",
      choices: ["long-poll", "sse"],
    },
    { flags: "--offset <offset>", meaning: "start there: an offset of head, -1 for the start, now for the tail (-1)" },
    { flags: "--json", meaning: "print the messages of a JSON stream one per line, exactly as stored" },
    { flags: "--output <file>", meaning: "write to a file, with progress", file: true },
  ],
  example: "read events --json",
  notes: "Without --json the bytes are printed as the server sends them: of a JSON stream, arrays one after another.",
  async run(context, [path], options) {
    const live = options.text("live") as "long-poll" | "sse" | undefined;
    const choice = options.choice("follow");
    if (live !== undefined && choice === false)
      throw new Failure("usage", "--live and --no-follow contradict each other");
    const follows = choice ?? (live !== undefined || context.program === "durable-stream");
    const output = options.text("output");
    const progress = output === undefined ? undefined : openProgress(context.terminal, "reading");
    const file = output === undefined ? undefined : await open(output, "w");
    try {
      const write =
        file === undefined
          ? (bytes: Uint8Array): Promise<void> => context.terminal.print(bytes)
          : async (bytes: Uint8Array): Promise<void> => {
              await file.writeFile(bytes);
              progress?.add(bytes.length);
            };
      const reading = new Reading(context, path!, options.flag("json") ? jsonLines(write) : write, progress);
      const isClosed = await reading.catchUp(options.text("offset") ?? "-1");
      if (follows && !isClosed) await reading.follow(live ?? "long-poll");
    } finally {
      progress?.stop();
      await file?.close();
    }
  },
};

type Sink = (bytes: Uint8Array) => Promise<void>;

/** Passes each element of the arrays that come in as a line. */
export function jsonLines(write: Sink): Sink {
  const elements = new JsonElements();
  const newline = Buffer.from("\n");
  return async (bytes) => {
    try {
      const lines = elements.push(bytes).flatMap((element) => [element, newline]);
      if (lines.length > 0) await write(Buffer.concat(lines));
    } catch (error) {
      if (error instanceof JsonTextError)
        throw new Failure("server", `the server's answer is not a JSON array: ${error.message}`);
      throw error;
    }
  };
}

class Reading {
  readonly #context: CommandContext;
  readonly #url: string;
  readonly #write: Sink;
  readonly #progress: Progress | undefined;
  /** Everything before it has been printed. */
  #offset = "-1";

  constructor(context: CommandContext, path: string, write: Sink, progress: Progress | undefined) {
    this.#context = context;
    this.#url = context.connection.streamUrl(path);
    this.#write = write;
    this.#progress = progress;
  }

  /** Prints up to the tail. Returns whether the stream is closed there. */
  async catchUp(offset: string): Promise<boolean> {
    this.#offset = offset;
    // Bytes after the offset that were printed before a transfer broke: they come again.
    let printed = 0;
    for (let broken = 0; ;) {
      // The client package ends after one answer without `live`, so each is asked for here.
      const answer = await this.#open(false);
      const before = printed;
      try {
        printed = await this.#printFrom(answer, printed, (count) => (printed = count));
      } catch (error) {
        broken = printed > before ? 1 : broken + 1;
        if (networkFaultOf(error) === undefined || broken > BROKEN_MAX || this.#offset === "now") throw error;
        await pause(delayMs(broken));
        continue;
      }
      if (answer.upToDate || answer.streamClosed) {
        this.#offset = answer.offset;
        return answer.streamClosed;
      }
      if (answer.offset === this.#offset)
        throw new Failure(
          "server",
          `the server sends nothing after offset ${this.#offset} and says that more is there`,
        );
      this.#offset = answer.offset;
      broken = 0;
      printed = 0;
    }
  }

  /** Prints what arrives until the stream is closed. */
  async follow(first: "long-poll" | "sse"): Promise<void> {
    let mode = first;
    for (let broken = 0; ;) {
      const before = this.#offset;
      const session = await this.#open(mode);
      let fault: unknown;
      try {
        await this.#printSession(session);
        if (session.streamClosed) return;
        // Event streams that always end at once do not get through; polling does.
        mode = "long-poll";
      } catch (error) {
        fault = error;
      }
      broken = this.#offset === before ? broken + 1 : 1;
      if (fault !== undefined && (networkFaultOf(fault) === undefined || broken > BROKEN_MAX)) throw fault;
      await pause(delayMs(broken));
    }
  }

  /** Resolves when the session has ended and all of it is printed; the session itself ends before its last answer. */
  async #printSession(session: StreamResponse): Promise<void> {
    let printing: Promise<void> = Promise.resolve();
    let hasEnded = false;
    const allPrinted = new Promise<void>((resolve, reject) => {
      const check = (): void => {
        if (hasEnded && this.#offset === session.offset) resolve();
      };
      session.subscribeBytes((chunk) => {
        printing = this.#write(chunk.data).then(() => {
          this.#offset = chunk.offset;
          check();
        });
        printing.catch(reject);
        return printing;
      });
      session.closed.then(() => {
        hasEnded = true;
        check();
      }, reject);
    });
    try {
      await allPrinted;
    } finally {
      // The next session must not print between.
      await printing.catch(() => undefined);
    }
  }

  async #open(live: LiveMode): Promise<StreamResponse> {
    const { connection } = this.#context;
    const options: StreamOptions = {
      url: this.#url,
      headers: { ...connection.headers },
      fetch: live === false ? connection.fetch : withWholeBody(connection.fetch),
      backoffOptions: NO_BACKOFF,
      offset: this.#offset,
      live,
      warnOnHttp: false,
      sseResilience: { logWarnings: false },
    };
    const session = await stream(options);
    // Whoever reads the answer hears of its failure; here it would have no handler.
    session.closed.catch(() => undefined);
    return session;
  }

  /** Prints one answer but its first `skip` bytes; `seen` is told how many have been printed in all. */
  async #printFrom(answer: StreamResponse, skip: number, seen: (count: number) => void): Promise<number> {
    const { headers } = answer;
    const length = Number(headers.get("content-length") ?? Number.NaN);
    if (answer.upToDate && length > 0 && !headers.has("content-encoding")) this.#progress?.setRest(length - skip);
    const reader = answer.bodyStream().getReader();
    let position = 0;
    for (;;) {
      const { done, value } = await this.#context.connection.within(reader.read());
      if (done) return Math.max(position, skip);
      const fresh = value.subarray(Math.min(value.length, Math.max(0, skip - position)));
      position += value.length;
      if (fresh.length > 0) await this.#write(fresh);
      seen(Math.max(position, skip));
    }
  }
}

/** A live answer counts as received when all of it is; event streams have no end. */
function withWholeBody(fetch: typeof globalThis.fetch): typeof globalThis.fetch {
  return async (input, init) => {
    const answer = await fetch(input, init);
    return answer.headers.get("content-type")?.startsWith("text/event-stream") === true ? answer : wholeAnswer(answer);
  };
}

function delayMs(broken: number): number {
  return Math.min(FIRST_DELAY_MS * 2 ** Math.min(broken, 10), DELAY_MS_MAX);
}
