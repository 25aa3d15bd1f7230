/** Settings: few, typed, checked at the start. The only file that reads the environment. */
import path from "node:path";
import { parseArgs } from "node:util";

export interface Settings {
  readonly port: number;
  readonly host: string;
  readonly dataDir: string;
  /** `file:PATH`, `memory:` or `s3://BUCKET[/PREFIX]`. */
  readonly store: string;
  readonly streamRoot: string;
  readonly segmentBytes: number;
  readonly segmentAgeMs: number;
  readonly walBytesMax: number;
  readonly diskReserveBytes: number;
  readonly cacheBytesMax: number;
  readonly bodyBytesMax: number;
  readonly chunkBytes: number;
  readonly longPollMs: number;
  readonly sseMs: number;
  readonly objectGraceMs: number;
  /** Responses to reads are compressed for clients that take it. */
  readonly compression: boolean;
  /** Webhook subscriptions are taken and delivered. */
  readonly webhooks: boolean;
  /** Webhooks may go to this machine, also by plain http: for development. */
  readonly webhookLoopback: boolean;
  /** Origin at which workers reach the server; empty for the one it listens on. */
  readonly publicUrl: string;
}

/** A setting that cannot be used; the message starts with its name. */
export class SettingError extends Error {
  override readonly name = "SettingError";
}

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

type Kind = "text" | "bytes" | "count" | "switch";

export interface SettingRow {
  readonly flag: string;
  readonly environment: string;
  readonly kind: Kind;
  readonly fallback: string;
  readonly min?: number;
  readonly max?: number;
  readonly meaning: string;
}

/** The table of settings; the README shows it. */
export const SETTINGS: { readonly [Name in keyof Settings]: SettingRow } = {
  port: {
    flag: "port",
    environment: "PORT",
    kind: "count",
    fallback: "4437",
    min: 0,
    max: 65_535,
    meaning: "TCP port; 0 lets the system choose",
  },
  host: { flag: "host", environment: "HOST", kind: "text", fallback: "127.0.0.1", meaning: "address to listen on" },
  dataDir: {
    flag: "data-dir",
    environment: "STREAMS_DIR",
    kind: "text",
    fallback: "./streams-data",
    meaning: "WAL, catalog and cache",
  },
  store: {
    flag: "store",
    environment: "COLDBROOK_STORE",
    kind: "text",
    fallback: "",
    meaning: "file:PATH, s3://BUCKET[/PREFIX] or memory:",
  },
  streamRoot: {
    flag: "stream-root",
    environment: "COLDBROOK_STREAM_ROOT",
    kind: "text",
    fallback: "/v1/stream",
    meaning: "URL path above all streams",
  },
  segmentBytes: {
    flag: "segment-bytes",
    environment: "COLDBROOK_SEGMENT_BYTES",
    kind: "bytes",
    fallback: "64MiB",
    min: KIB,
    max: GIB,
    meaning: "size at which a WAL segment is sealed",
  },
  segmentAgeMs: {
    flag: "segment-age-ms",
    environment: "COLDBROOK_SEGMENT_AGE_MS",
    kind: "count",
    fallback: "60000",
    min: 10,
    max: 86_400_000,
    meaning: "age at which it is sealed",
  },
  walBytesMax: {
    flag: "wal-bytes-max",
    environment: "COLDBROOK_WAL_BYTES_MAX",
    kind: "bytes",
    fallback: "4GiB",
    min: 64 * KIB,
    max: 1024 * GIB,
    meaning: "bytes that only the WAL may hold; past it, appends get 503",
  },
  diskReserveBytes: {
    flag: "disk-reserve",
    environment: "COLDBROOK_DISK_RESERVE",
    kind: "bytes",
    fallback: "256MiB",
    min: 0,
    max: 1024 * GIB,
    meaning: "disk space, up to an eighth, that appends leave free; past it, 507",
  },
  cacheBytesMax: {
    flag: "cache-bytes-max",
    environment: "COLDBROOK_CACHE_BYTES_MAX",
    kind: "bytes",
    fallback: "1GiB",
    min: 0,
    max: 1024 * GIB,
    meaning: "disk cache of cold ranges; 0 turns it off",
  },
  bodyBytesMax: {
    flag: "body-bytes-max",
    environment: "COLDBROOK_BODY_BYTES_MAX",
    kind: "bytes",
    fallback: "32MiB",
    min: 1,
    max: 256 * MIB,
    meaning: "largest request body",
  },
  chunkBytes: {
    flag: "chunk-bytes",
    environment: "COLDBROOK_CHUNK_BYTES",
    kind: "bytes",
    fallback: "1MiB",
    min: 16,
    max: 64 * MIB,
    meaning: "unit a catch-up response is cut to",
  },
  longPollMs: {
    flag: "long-poll-ms",
    environment: "COLDBROOK_LONG_POLL_MS",
    kind: "count",
    fallback: "30000",
    min: 1,
    max: 600_000,
    meaning: "how long a long-poll waits",
  },
  sseMs: {
    flag: "sse-ms",
    environment: "COLDBROOK_SSE_MS",
    kind: "count",
    fallback: "60000",
    min: 100,
    max: 3_600_000,
    meaning: "how long an SSE connection lasts",
  },
  objectGraceMs: {
    flag: "object-grace-ms",
    environment: "COLDBROOK_OBJECT_GRACE_MS",
    kind: "count",
    fallback: "300000",
    min: 0,
    max: 604_800_000,
    meaning: "how long an object outlives its last stream",
  },
  compression: {
    flag: "compression",
    environment: "COLDBROOK_COMPRESSION",
    kind: "switch",
    fallback: "off",
    meaning: "on or off: gzip or deflate of reads, as the client asks",
  },
  webhooks: {
    flag: "webhooks",
    environment: "COLDBROOK_WEBHOOKS",
    kind: "switch",
    fallback: "on",
    meaning: "on or off: subscriptions may be delivered by webhook",
  },
  webhookLoopback: {
    flag: "webhook-loopback",
    environment: "COLDBROOK_WEBHOOK_LOOPBACK",
    kind: "switch",
    fallback: "off",
    meaning: "on or off: webhooks to this machine, by http too",
  },
  publicUrl: {
    flag: "public-url",
    environment: "COLDBROOK_PUBLIC_URL",
    kind: "text",
    fallback: "",
    meaning: "origin that webhooks are told to call back",
  },
};

const UNITS: Readonly<Record<string, number>> = { "": 1, B: 1, KiB: KIB, MiB: MIB, GiB: GIB, TiB: 1024 * GIB };

/** @throws SettingError */
export function readSettings(
  args: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Settings {
  const flags = parseFlags(args);
  const text = (row: SettingRow): { value: string; name: string } => {
    const flag = flags[row.flag];
    if (flag !== undefined) return { value: flag, name: `--${row.flag}` };
    const variable = environment[row.environment];
    if (variable !== undefined && variable !== "") return { value: variable, name: row.environment };
    return { value: row.fallback, name: `--${row.flag}` };
  };
  const count = (row: SettingRow): number => {
    const { value, name } = text(row);
    return within(row, name, row.kind === "bytes" ? parseBytes(name, value) : parseCount(name, value));
  };
  const dataDir = path.resolve(text(SETTINGS.dataDir).value);
  const settings: Settings = {
    port: count(SETTINGS.port),
    host: parseHost(text(SETTINGS.host)),
    dataDir,
    store: text(SETTINGS.store).value || `file:${path.join(dataDir, "objects")}`,
    streamRoot: parseRoot(text(SETTINGS.streamRoot)),
    segmentBytes: count(SETTINGS.segmentBytes),
    segmentAgeMs: count(SETTINGS.segmentAgeMs),
    walBytesMax: count(SETTINGS.walBytesMax),
    diskReserveBytes: count(SETTINGS.diskReserveBytes),
    cacheBytesMax: count(SETTINGS.cacheBytesMax),
    bodyBytesMax: count(SETTINGS.bodyBytesMax),
    chunkBytes: count(SETTINGS.chunkBytes),
    longPollMs: count(SETTINGS.longPollMs),
    sseMs: count(SETTINGS.sseMs),
    objectGraceMs: count(SETTINGS.objectGraceMs),
    compression: parseSwitch(text(SETTINGS.compression)),
    webhooks: parseSwitch(text(SETTINGS.webhooks)),
    webhookLoopback: parseSwitch(text(SETTINGS.webhookLoopback)),
    publicUrl: parsePublicUrl(text(SETTINGS.publicUrl)),
  };
  return settings;
}

/** The process environment, for callers that may not read it. */
export function processEnvironment(): Readonly<Record<string, string | undefined>> {
  return process.env;
}

function parseFlags(args: readonly string[]): Readonly<Record<string, string | undefined>> {
  const options = Object.fromEntries(Object.values(SETTINGS).map((row) => [row.flag, { type: "string" as const }]));
  try {
    const { values } = parseArgs({ args: [...args], options, strict: true, allowPositionals: false });
    return values as Record<string, string | undefined>;
  } catch (error) {
    throw new SettingError(
      `${(error as Error).message} (known: ${Object.values(SETTINGS)
        .map((row) => `--${row.flag}`)
        .join(", ")})`,
    );
  }
}

function parseCount(name: string, value: string): number {
  if (!/^\d{1,15}$/.test(value)) throw new SettingError(`${name} must be a whole number, not "${value}"`);
  return Number(value);
}

function parseBytes(name: string, value: string): number {
  const match = /^(\d{1,15})(B|KiB|MiB|GiB|TiB)?$/.exec(value);
  if (match === null) throw new SettingError(`${name} must be a size such as 64MiB, 1GiB or 4096, not "${value}"`);
  return Number(match[1]) * UNITS[match[2] ?? ""]!;
}

function within(row: SettingRow, name: string, value: number): number {
  const { min = 0, max = Number.MAX_SAFE_INTEGER } = row;
  if (value < min || value > max) throw new SettingError(`${name} must be ${min} to ${max}, not ${value}`);
  return value;
}

function parseSwitch({ value, name }: { value: string; name: string }): boolean {
  if (value !== "on" && value !== "off") throw new SettingError(`${name} must be on or off, not "${value}"`);
  return value === "on";
}

/** An empty host would listen on every address. */
function parseHost({ value, name }: { value: string; name: string }): string {
  if (!/^[0-9A-Za-z.:-]+$/.test(value))
    throw new SettingError(`${name} must be an address or a host name, not "${value}"`);
  return value;
}

/** Without a slash at its end. */
function parsePublicUrl({ value, name }: { value: string; name: string }): string {
  if (value === "") return "";
  const url = /^https?:\/\/[^\s?#@\\]+$/i.test(value) && URL.canParse(value) ? new URL(value) : null;
  if (url === null) throw new SettingError(`${name} must be a URL such as https://streams.example.com, not "${value}"`);
  return url.href.replace(/\/+$/, "");
}

function parseRoot({ value, name }: { value: string; name: string }): string {
  if (!/^(?:\/[A-Za-z0-9._~-]+)+$/.test(value) || value === "/health") {
    throw new SettingError(`${name} must be a path such as /v1/stream, without a slash at its end, not "${value}"`);
  }
  return value;
}
