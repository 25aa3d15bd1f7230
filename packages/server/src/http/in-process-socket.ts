/** Two ends of a connection inside of this process, which HTTP is spoken over as over TCP: with back-pressure, and without a port. */
import { Duplex } from "node:stream";
import type { DuplexOptions } from "node:stream";

type Done = (error?: Error | null) => void;

/** What an end holds unread before its peer's writes wait. */
const BUFFERED_BYTES_MAX: number = 64 * 1024;
const OPTIONS: DuplexOptions = { highWaterMark: BUFFERED_BYTES_MAX, allowHalfOpen: true };

export class InProcessSocket extends Duplex {
  #peer: InProcessSocket | null = null;
  /** The peer's write that goes on when this end is read. */
  #unread: Done | null = null;
  #idleMs = 0;
  #idle: NodeJS.Timeout | null = null;
  readonly localAddress: string = "127.0.0.1";
  readonly remoteAddress: string = "127.0.0.1";

  static pair(): [InProcessSocket, InProcessSocket] {
    const [one, other] = [new InProcessSocket(OPTIONS), new InProcessSocket(OPTIONS)];
    one.#peer = other;
    other.#peer = one;
    return [one, other];
  }

  override _read(): void {
    const done = this.#unread;
    this.#unread = null;
    this.#moved();
    if (done !== null) process.nextTick(done);
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#moved();
    const peer = this.#peer!;
    if (peer.destroyed || bytes.length === 0) return void process.nextTick(done);
    peer.#unread = done;
    peer.push(bytes);
  }

  override _final(done: Done): void {
    const peer = this.#peer!;
    if (!peer.destroyed) peer.push(null);
    process.nextTick(done);
  }

  override _destroy(error: Error | null, done: Done): void {
    this.setTimeout(0);
    const peer = this.#peer!;
    this.#unread?.();
    this.#unread = null;
    process.nextTick(() => {
      // What was written before the end is still to be read there.
      if (!peer.destroyed && this.writableFinished && error === null) peer.push(null);
      else peer.destroy();
      done(error);
    });
  }

  /** As of a TCP socket: gone as soon as the peer has taken what was written. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once("finish", () => this.destroy());
  }

  /** As of a TCP socket: "timeout" when nothing has moved for so long; 0 turns it off. */
  setTimeout(ms: number, onTimeout?: () => void): this {
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#idle = null;
    this.#idleMs = ms;
    if (ms > 0) this.#idle = setTimeout(() => this.emit("timeout"), ms).unref();
    if (onTimeout !== undefined) {
      if (ms > 0) this.once("timeout", onTimeout);
      else this.off("timeout", onTimeout);
    }
    return this;
  }

  /** Nothing to delay. */
  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  #moved(): void {
    if (this.#idle !== null && this.#idleMs > 0) this.#idle.refresh();
  }
}
