/** Where the server is and how to speak to it: options first, then the environment that settings.ts hands over. */
import type { OptionSpec, OptionValues } from "./command-spec.ts";
import { Failure } from "./failure.ts";

export interface ClientSettings {
  /** URL above all streams, without a slash at its end. */
  readonly baseUrl: string;
  /** Sent with each request. */
  readonly headers: Readonly<Record<string, string>>;
  /** Never printed, not even where a server repeats them. */
  readonly secrets: readonly string[];
  readonly timeoutMs: number;
  readonly quiet: boolean;
}

const DEFAULT_URL = "http://localhost:4437/v1/stream";
const DEFAULT_TIMEOUT_SECONDS = "30";
const TIMEOUT_SECONDS_MAX = 86_400;
/** Shorter ones would blacken ordinary words. */
const SECRET_CHARS_MIN = 4;

export const CLIENT_OPTIONS: readonly OptionSpec[] = [
  { flags: "--url <url>", meaning: `URL above all streams (STREAM_URL; ${DEFAULT_URL})` },
  { flags: "--auth <value>", meaning: 'value of the Authorization header, such as "Bearer TOKEN" (STREAM_AUTH)' },
  { flags: "--header <name: value>", meaning: "further header of each request; may be repeated", repeatable: true },
  {
    flags: "--timeout <seconds>",
    meaning: `give up when the server does not answer for so long (${DEFAULT_TIMEOUT_SECONDS}); following may be quiet for ever`,
  },
  { flags: "--quiet", meaning: "no messages of success and no progress" },
];

/** @throws Failure that names the option or variable, never a secret's value */
export function readClientSettings(
  options: OptionValues,
  environment: Readonly<Record<string, string | undefined>>,
): ClientSettings {
  const given = options.text("url");
  const variable = environment["STREAM_URL"] ?? "";
  const baseUrl =
    given === undefined ? parseBaseUrl("STREAM_URL", variable || DEFAULT_URL) : parseBaseUrl("--url", given);
  const headers: Record<string, string> = {};
  const secrets: string[] = [];
  for (const line of options.list("header")) {
    const { name, value } = parseHeader(line);
    headers[name] = value;
    secrets.push(value);
  }
  const flag = options.text("auth");
  const auth = flag ?? (environment["STREAM_AUTH"] || undefined);
  if (auth !== undefined) {
    headers["authorization"] = parseHeaderValue(flag === undefined ? "STREAM_AUTH" : "--auth", auth);
    // The token alone may come back too.
    secrets.push(auth, ...auth.split(/\s+/));
  }
  return {
    baseUrl,
    headers,
    secrets: secrets.filter(
      (secret) => secret.length >= SECRET_CHARS_MIN && !/^(?:bearer|basic|token|apikey)$/i.test(secret),
    ),
    timeoutMs: parseTimeout(options.text("timeout") ?? DEFAULT_TIMEOUT_SECONDS),
    quiet: options.flag("quiet"),
  };
}

/** Takes out whatever of `secrets` is in the text. */
export function redact(text: string, secrets: readonly string[]): string {
  const longestFirst = [...secrets].sort((a, b) => b.length - a.length);
  return longestFirst.reduce((clean, secret) => clean.replaceAll(secret, "***"), text);
}

function parseBaseUrl(name: string, text: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new Failure("usage", `${name} must be a URL such as ${DEFAULT_URL}`);
  }
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw new Failure("usage", `${name} must start with http:// or https://, not ${url.protocol}`);
  if (url.username !== "" || url.password !== "")
    throw new Failure("usage", `${name} holds a user name or password; use --auth or STREAM_AUTH for them`);
  if (url.search !== "" || url.hash !== "")
    throw new Failure("usage", `${name} must end with its path, without ? and #`);
  return `${url.origin}${url.pathname}`.replace(/\/+$/, "");
}

function parseHeader(line: string): { name: string; value: string } {
  const match = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*)$/s.exec(line);
  if (match === null) throw new Failure("usage", '--header must be "Name: value"');
  const [, name, value] = match as unknown as [string, string, string];
  return { name: name.toLowerCase(), value: parseHeaderValue(`--header ${name}`, value) };
}

/** The message leaves the value out: it may be a secret. */
export function parseHeaderValue(name: string, value: string): string {
  const trimmed = value.trim();
  if (trimmed === "") throw new Failure("usage", `${name} must not be empty`);
  if (!/^[\t\u0020-\u007E\u0080-\u00FF]+$/.test(trimmed))
    throw new Failure("usage", `${name} holds a line break or another character that no header can carry`);
  return trimmed;
}

function parseTimeout(text: string): number {
  const seconds = /^\d{1,8}(?:\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  if (seconds <= 0 || seconds > TIMEOUT_SECONDS_MAX)
    throw new Failure(
      "usage",
      `--timeout must be seconds, more than 0 and at most ${TIMEOUT_SECONDS_MAX}, not "${text}"`,
    );
  return seconds * 1000;
}
