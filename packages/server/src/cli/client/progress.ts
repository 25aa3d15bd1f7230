/** Bytes, rate and time left of a long transfer, drawn on standard error when that is a terminal. */
import { SingleBar } from "cli-progress";
import type { Terminal } from "./terminal.ts";

export interface Progress {
  add(bytes: number): void;
  /** What is still to come, once it is known. */
  setRest(bytes: number): void;
  stop(): void;
}

/** A transfer that ends sooner draws nothing. */
const SHOWN_AFTER_MS = 500;

const SILENT: Progress = { add: () => undefined, setRest: () => undefined, stop: () => undefined };

/** `total` in bytes, when it is known. */
export function openProgress(terminal: Terminal, what: string, total?: number): Progress {
  return terminal.drawsProgress ? new DrawnProgress(terminal, what, total) : SILENT;
}

class DrawnProgress implements Progress {
  readonly #bar: SingleBar;
  readonly #what: string;
  readonly #startMs = performance.now();
  readonly #timer: NodeJS.Timeout;
  #total: number | undefined;
  #done = 0;
  #isShown = false;

  constructor(terminal: Terminal, what: string, total: number | undefined) {
    this.#what = what;
    this.#total = total;
    this.#bar = new SingleBar({
      stream: terminal.stderr,
      format: () => this.#line(),
      fps: 5,
      hideCursor: null,
      linewrap: null,
      gracefulExit: false,
      clearOnComplete: true,
    });
    this.#timer = setTimeout(() => this.#show(), SHOWN_AFTER_MS);
    this.#timer.unref();
  }

  add(bytes: number): void {
    this.#done += bytes;
    if (this.#isShown) this.#bar.update(this.#done);
  }

  setRest(bytes: number): void {
    this.#total = this.#done + bytes;
  }

  stop(): void {
    clearTimeout(this.#timer);
    if (this.#isShown) this.#bar.stop();
  }

  #show(): void {
    this.#isShown = true;
    this.#bar.start(Number.MAX_SAFE_INTEGER, this.#done);
  }

  #line(): string {
    return progressLine(this.#what, this.#done, this.#total, performance.now() - this.#startMs);
  }
}

/** One line; the total and the time left only when the size is known. */
export function progressLine(what: string, done: number, total: number | undefined, elapsedMs: number): string {
  const perSecond = elapsedMs === 0 ? 0 : (done * 1000) / elapsedMs;
  const rate = `${formatBytes(perSecond)}/s`;
  if (total === undefined) return `${what} ${formatBytes(done)}, ${rate}`;
  const percent = total === 0 ? 100 : Math.min(100, Math.floor((done * 100) / total));
  const left = perSecond === 0 ? "--:--" : formatSeconds(Math.max(0, total - done) / perSecond);
  return `${what} ${formatBytes(done)} of ${formatBytes(total)} (${percent}%), ${rate}, ${left} left`;
}

export function formatBytes(bytes: number): string {
  if (bytes < 1024) return Math.round(bytes) === 1 ? "1 byte" : `${Math.round(bytes)} bytes`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(1)} ${units[unit]}`;
}

function formatSeconds(seconds: number): string {
  const whole = Math.min(Math.round(seconds), 359_999);
  const two = (count: number): string => String(count).padStart(2, "0");
  const minutes = `${two(Math.floor((whole % 3600) / 60))}:${two(whole % 60)}`;
  return whole < 3600 ? minutes : `${Math.floor(whole / 3600)}:${minutes}`;
}
