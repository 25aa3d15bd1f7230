/** The streams that subscriptions follow: what was acknowledged and told of each, as far as subscriptions need it. */
import { parseOffset } from "../../process/stored-bytes.ts";
import { Violation, type Fate } from "../incarnation.ts";

/** Offsets that an ack may name besides the tail. */
const OFFSETS_MAX = 64;

/** One stream from its create to its delete. Offsets compare as strings, also across lives. */
export class StreamLife {
  readonly path: string;
  /** Logical time of its create. */
  readonly begunAt: number;
  created: Fate = "maybe";
  deleted: Fate = "no";
  generation: number | null = null;
  /** The highest tail that an acknowledgement, a HEAD or a wake named. */
  tail = "";
  /** An append or a create with a body was acknowledged, or seen to have happened. */
  hasBytes = false;
  readonly offsets: string[] = [];

  constructor(path: string, begunAt: number) {
    this.path = path;
    this.begunAt = begunAt;
  }

  /** Takes an offset that the server gave for this life's tail. */
  learn(offset: string, where: string): void {
    const { generation, position } = parseOffset(offset);
    this.generation ??= generation;
    if (generation !== this.generation) {
      throw new Violation(`${this.path}: ${where} names ${offset}, its generation is ${this.generation}`);
    }
    if (position > 0) this.hasBytes = true;
    if (offset <= this.tail) return;
    this.tail = offset;
    this.offsets.push(offset);
    if (this.offsets.length > OFFSETS_MAX) this.offsets.shift();
  }
}

export class FollowedStream {
  readonly path: string;
  /** How often its stream is deleted and created again. */
  readonly comesAndGoes: boolean;
  current: StreamLife | undefined;

  constructor(path: string, comesAndGoes: boolean) {
    this.path = path;
    this.comesAndGoes = comesAndGoes;
  }
}
