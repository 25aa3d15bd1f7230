/** The streams a command reads and writes. Output waits for its reader; success is told unless --quiet. */
import { once } from "node:events";
import type { Readable, Writable } from "node:stream";

export interface TerminalStreams {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Writable;
  readonly stderr: Writable & { readonly isTTY?: boolean };
}

export class Terminal {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stderr: Writable & { readonly isTTY?: boolean };
  readonly #stdout: Writable;
  readonly #quiet: boolean;

  constructor(streams: TerminalStreams, quiet: boolean) {
    this.stdin = streams.stdin;
    this.stderr = streams.stderr;
    this.#stdout = streams.stdout;
    this.#quiet = quiet;
  }

  /** Progress may be drawn. */
  get drawsProgress(): boolean {
    return this.stderr.isTTY === true && !this.#quiet;
  }

  /** A message of success. */
  async say(line: string): Promise<void> {
    if (!this.#quiet) await this.print(`${line}\n`);
  }

  /** What the command is asked for; resolves when more can be taken. */
  async print(data: string | Uint8Array): Promise<void> {
    if (data.length === 0 || this.#stdout.write(data)) return;
    await once(this.#stdout, "drain");
  }
}
