/** A simulated process: an incarnation of the server, whose effects end with its death. */
import type { OpenFile } from "./files.ts";

/** Thrown at a process that has died, from the call at which it did: whatever it does from there on changes nothing. */
export class Frozen extends Error {
  constructor() {
    super("the process is dead");
  }
}

/** When a process dies by itself: around its call of that number. */
export interface CrashPoint {
  readonly call: number;
  /** Which calls are counted: all, or those made while clients wait for answers to writes. */
  readonly during: "anything" | "writes";
  readonly side: "before" | "after";
  /** "kill" leaves the page cache alone; "power" takes it, and every process with it. */
  readonly mode: "kill" | "power";
}

export class Process {
  readonly id: number;
  readonly pid: number;
  readonly startedAt: number;
  /** What /proc/self/ns/pid says: processes of another one cannot judge this one's pid. */
  readonly namespace: string;
  dead = false;
  endedBy = "";
  /** Calls to the file system, the catalog and the object store so far. */
  calls = 0;
  /** Those of them that were made while a write of a client was under way. */
  callsDuringWrites = 0;
  /** Writes of clients that have arrived and are not answered. */
  writesUnderWay = 0;
  /** The call that it is at is its crash point. */
  isAtCrash = false;
  syncs = 0;
  crash: CrashPoint | null = null;
  /** Numbers of the syncs that fail. */
  failingSyncs: readonly number[] = [];
  /** Calls during which the disk is full, from the first to the last. */
  fullDisk: { readonly from: number; readonly to: number } | null = null;
  /** Faults that it met, which excuse it when it gives up. */
  excuses: string[] = [];
  readonly files = new Map<number, OpenFile>();
  readonly #deaths: (() => void)[] = [];

  constructor(facts: { id: number; pid: number; startedAt: number; namespace: string }) {
    this.id = facts.id;
    this.pid = facts.pid;
    this.startedAt = facts.startedAt;
    this.namespace = facts.namespace;
  }

  /** A call begins. */
  count(): void {
    this.calls += 1;
    const { crash } = this;
    if (this.writesUnderWay > 0) this.callsDuringWrites += 1;
    else if (crash?.during === "writes") {
      this.isAtCrash = false;
      return;
    }
    this.isAtCrash = crash?.call === (crash?.during === "writes" ? this.callsDuringWrites : this.calls);
  }

  onDeath(act: () => void): void {
    this.#deaths.push(act);
  }

  die(why: string): void {
    this.dead = true;
    this.endedBy = why;
    this.files.clear();
    for (const act of this.#deaths.splice(0)) act();
  }

  get isDiskFull(): boolean {
    return this.fullDisk !== null && this.calls >= this.fullDisk.from && this.calls <= this.fullDisk.to;
  }
}
