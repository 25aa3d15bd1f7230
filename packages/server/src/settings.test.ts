import path from "node:path";
import { describe, expect, test } from "vitest";
import { readSettings, SettingError, SETTINGS, type Settings } from "./settings.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** What the README promises: name, flag, variable, default, least, most. */
const TEXTS: readonly (readonly [name: keyof Settings, flag: string, variable: string, fallback: string])[] = [
  ["host", "host", "HOST", "127.0.0.1"],
  ["dataDir", "data-dir", "STREAMS_DIR", path.resolve("streams-data")],
  ["store", "store", "COLDBROOK_STORE", `file:${path.resolve("streams-data/objects")}`],
  ["streamRoot", "stream-root", "COLDBROOK_STREAM_ROOT", "/v1/stream"],
  ["publicUrl", "public-url", "COLDBROOK_PUBLIC_URL", ""],
];
const NUMBERS: readonly (readonly [
  name: keyof Settings,
  flag: string,
  variable: string,
  fallback: number,
  min: number,
  max: number,
])[] = [
  ["port", "port", "PORT", 4437, 0, 65_535],
  ["segmentBytes", "segment-bytes", "COLDBROOK_SEGMENT_BYTES", 64 * MIB, KIB, GIB],
  ["segmentAgeMs", "segment-age-ms", "COLDBROOK_SEGMENT_AGE_MS", 60_000, 10, 86_400_000],
  ["walBytesMax", "wal-bytes-max", "COLDBROOK_WAL_BYTES_MAX", 4 * GIB, 64 * KIB, 1024 * GIB],
  ["diskReserveBytes", "disk-reserve", "COLDBROOK_DISK_RESERVE", 256 * MIB, 0, 1024 * GIB],
  ["cacheBytesMax", "cache-bytes-max", "COLDBROOK_CACHE_BYTES_MAX", GIB, 0, 1024 * GIB],
  ["bodyBytesMax", "body-bytes-max", "COLDBROOK_BODY_BYTES_MAX", 32 * MIB, 1, 256 * MIB],
  ["chunkBytes", "chunk-bytes", "COLDBROOK_CHUNK_BYTES", MIB, 16, 64 * MIB],
  ["longPollMs", "long-poll-ms", "COLDBROOK_LONG_POLL_MS", 30_000, 1, 600_000],
  ["sseMs", "sse-ms", "COLDBROOK_SSE_MS", 60_000, 100, 3_600_000],
  ["objectGraceMs", "object-grace-ms", "COLDBROOK_OBJECT_GRACE_MS", 300_000, 0, 604_800_000],
];
const SWITCHES: readonly (readonly [name: keyof Settings, flag: string, variable: string, fallback: boolean])[] = [
  ["compression", "compression", "COLDBROOK_COMPRESSION", false],
  ["webhooks", "webhooks", "COLDBROOK_WEBHOOKS", true],
  ["webhookLoopback", "webhook-loopback", "COLDBROOK_WEBHOOK_LOOPBACK", false],
];
const PROMISED = [...TEXTS, ...NUMBERS, ...SWITCHES];

function refusal(args: readonly string[], environment: Record<string, string> = {}): string {
  try {
    readSettings(args, environment);
  } catch (error) {
    expect(error).toBeInstanceOf(SettingError);
    return (error as Error).message;
  }
  throw new Error(`accepted: ${args.join(" ")} ${JSON.stringify(environment)}`);
}

describe("settings", () => {
  test("are all in the table", () => {
    expect(Object.keys(SETTINGS).sort()).toEqual(PROMISED.map(([name]) => name).sort());
    expect(Object.keys(readSettings([], {})).sort()).toEqual(PROMISED.map(([name]) => name).sort());
  });

  const defaults = PROMISED.map(([name, flag, variable, fallback]) => [name, flag, variable, fallback] as const);
  test.each(defaults)("%s has its default when neither --%s nor %s is given", (name, _flag, variable, fallback) => {
    expect(readSettings([], {})[name]).toBe(fallback);
    expect(readSettings([], { [variable]: "" })[name]).toBe(fallback);
  });

  test.each(NUMBERS)("%s comes from --%s, then from %s", (name, flag, variable, _f, _min, max) => {
    const [given, other] = [String(max - 7), String(max - 8)];
    expect(readSettings([], { [variable]: given })[name]).toBe(Number(given));
    expect(readSettings([`--${flag}`, other], { [variable]: given })[name]).toBe(Number(other));
    expect(readSettings([`--${flag}=${other}`], {})[name]).toBe(Number(other));
  });

  test.each(NUMBERS)(
    "%s (--%s, %s) takes its least and its most and nothing beyond",
    (name, flag, variable, _f, min, max) => {
      expect(readSettings([`--${flag}`, String(min)], {})[name]).toBe(min);
      expect(readSettings([`--${flag}`, String(max)], {})[name]).toBe(max);
      expect(refusal([`--${flag}`, String(max + 1)])).toMatch(new RegExp(`^--${flag} must be ${min} to ${max}, not`));
      expect(refusal([], { [variable]: String(max + 1) })).toMatch(new RegExp(`^${variable} must be`));
      if (min > 0) expect(refusal([`--${flag}=${min - 1}`])).toMatch(new RegExp(`^--${flag} must be`));
    },
  );

  test.each(NUMBERS)("%s (--%s, %s) takes no text, sign, point, exponent or foreign unit", (_name, flag, variable) => {
    for (const bad of ["x", "1e3", "+5", "-5", "1.5", " 5", "5 ", "0x10", "1KB", "1mib", "1PiB", "9".repeat(20)]) {
      expect(refusal([`--${flag}=${bad}`]).startsWith(`--${flag} must be`)).toBe(true);
      expect(refusal([], { [variable]: bad }).startsWith(`${variable} must be`)).toBe(true);
    }
  });

  test.each(SWITCHES)("%s comes from --%s, then from %s, and is on or off", (name, flag, variable) => {
    for (const [text, value] of [
      ["on", true],
      ["off", false],
    ] as const) {
      expect(readSettings([`--${flag}`, text], { [variable]: value ? "off" : "on" })[name]).toBe(value);
      expect(readSettings([], { [variable]: text })[name]).toBe(value);
    }
    for (const bad of ["", "true", "1", "ON", "yes", " on"]) {
      expect(refusal([`--${flag}=${bad}`])).toBe(`--${flag} must be on or off, not "${bad}"`);
      if (bad !== "") expect(refusal([], { [variable]: bad })).toBe(`${variable} must be on or off, not "${bad}"`);
    }
  });

  test("sizes take a unit, times do not", () => {
    const sizes = ["1024", "1024B", "1KiB"].map((text) => readSettings(["--segment-bytes", text], {}).segmentBytes);
    expect(sizes).toEqual([KIB, KIB, KIB]);
    expect(readSettings(["--cache-bytes-max", "1TiB"], {}).cacheBytesMax).toBe(1024 * GIB);
    expect(refusal(["--segment-age-ms", "1KiB"])).toMatch(/^--segment-age-ms must be a whole number/);
    expect(refusal(["--cache-bytes-max", "999999999999999TiB"])).toMatch(/^--cache-bytes-max must be/);
  });

  test("the store is below the data directory unless it is named", () => {
    const settings = readSettings(["--data-dir", "/var/data"], {});
    expect([settings.dataDir, settings.store]).toEqual(["/var/data", "file:/var/data/objects"]);
    expect(readSettings([], { COLDBROOK_STORE: "s3://bucket/prefix" }).store).toBe("s3://bucket/prefix");
    expect(readSettings([], { STREAMS_DIR: "relative" }).dataDir).toBe(path.resolve("relative"));
  });

  test("the stream root is a path without a slash at its end, and leaves /health alone", () => {
    expect(readSettings(["--stream-root", "/a/b-c.d~e_f"], {}).streamRoot).toBe("/a/b-c.d~e_f");
    for (const bad of ["", "/", "v1", "/v1/", "//v1", "/v1//x", "/v 1", "/v1?x", "/%41", "/health"]) {
      expect(refusal(["--stream-root", bad])).toMatch(/^--stream-root must be a path/);
    }
  });

  test("an unknown flag, a word too many and a flag without its value are refused with all flags named", () => {
    for (const args of [["--prot", "1"], ["word"], ["--port"], ["--port", "--host", "x"]]) {
      const message = refusal(args);
      expect(message).toContain(args[0]);
      for (const [, flag] of PROMISED) expect(message).toContain(`--${flag}`);
    }
  });
});
