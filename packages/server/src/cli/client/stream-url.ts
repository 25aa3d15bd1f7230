/** The URL of a stream or a subscription below the server's base URL. */
import { Failure } from "./failure.ts";

const PATH_CHARS_MAX = 2048;

/**
 * A stream's path as it is typed, with or without a slash in front. Characters that a URL cannot hold are
 * percent-encoded; what is encoded already stays.
 * @throws Failure when it could not mean one stream
 */
export function streamUrl(baseUrl: string, path: string): string {
  return `${baseUrl}/${encodePath(path)}`;
}

/** The path of a stream's URL, as the headers of a fork want it (protocol 4.2). */
export function streamPathname(baseUrl: string, path: string): string {
  return new URL(streamUrl(baseUrl, path)).pathname;
}

/** The path below the stream root, as a subscription's body wants it (protocol 6). */
export function streamName(path: string): string {
  encodePath(path);
  return path.replace(/^\//, "");
}

/** @throws Failure when the id is empty */
export function subscriptionUrl(baseUrl: string, id: string, action?: string): string {
  if (id.trim() === "" || id === "." || id === "..")
    throw new Failure("usage", "the subscription's id must not be empty");
  return `${baseUrl}/__ds/subscriptions/${encodeURIComponent(id)}${action === undefined ? "" : `/${action}`}`;
}

function encodePath(text: string): string {
  const path = text.replace(/^\//, "");
  if (path.trim() === "") throw new Failure("usage", "the stream's path must not be empty");
  if (path.length > PATH_CHARS_MAX)
    throw new Failure(
      "usage",
      `the stream's path has ${path.length} characters, at most ${PATH_CHARS_MAX} are allowed`,
    );
  if (/[?#\\]/.test(path)) throw new Failure("usage", `the stream's path "${path}" must not hold ? or # or \\`);
  if (/(?:^|\/)(?:\.|%2e){1,2}(?:\/|$)/i.test(path))
    throw new Failure(
      "usage",
      `the stream's path "${path}" must not hold . or .. between slashes: they mean another path`,
    );
  try {
    return encodeURI(path).replaceAll(/%25(?=[0-9A-Fa-f]{2})/g, "%");
  } catch {
    throw new Failure("usage", "the stream's path is not valid Unicode");
  }
}
