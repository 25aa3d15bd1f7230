import { ObjectStoreError } from "@coldbrook/core";

/** What went wrong with one request, and whether another attempt may fare better. */
export interface S3Fault {
  readonly error: ObjectStoreError;
  readonly again: boolean;
}

/** A whole answer whose body is not as long as its headers say: some proxy's doing, so another attempt may mend it. */
export class WrongLength extends Error {}

/** Error names that S3 sends with a status of 400 or 403 though the next attempt may well succeed. */
const PASSING: ReadonlySet<string> = new Set([
  "RequestTimeout",
  "BadDigest",
  "IncompleteBody",
  "XAmzContentSHA256Mismatch",
  "ExpiredToken",
  "ExpiredTokenException",
]);

const ADVICE: ReadonlyMap<string, string> = new Map([
  ["NotImplemented", "this S3 server lacks something that is needed here, most likely create-only writes"],
  ["NoSuchBucket", "create the bucket first"],
  ["AccessDenied", "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket"],
  ["Forbidden", "check the credentials and what they are allowed to do"],
  ["InvalidAccessKeyId", "check the credentials"],
  ["SignatureDoesNotMatch", "check the secret key, and that no proxy rewrites requests"],
  ["RequestTimeTooSkewed", "set this machine's clock"],
  ["AuthorizationHeaderMalformed", "set the region of the bucket (AWS_REGION)"],
  ["PermanentRedirect", "set the region of the bucket (AWS_REGION)"],
  ["CredentialsProviderError", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile or a role"],
]);

const SERVER_TEXT_MAX = 160;

/**
 * Maps what the SDK threw. The SDK's error is not kept as the cause: it drags along the request with its
 * Authorization header, and whoever logs an error logs its causes.
 */
export function judgeS3Fault(what: string, error: unknown): S3Fault {
  if (error instanceof ObjectStoreError) return { error, again: false };
  if (error instanceof WrongLength) {
    return { error: new ObjectStoreError("short", `${what}: ${error.message}`), again: true };
  }
  const { name, status, errno, text } = read(error);
  const fault = (code: "missing" | "short" | "unavailable" | "denied", detail: string): ObjectStoreError =>
    new ObjectStoreError(code, `${what}: ${detail}`);
  const answer = `${name}${status === undefined ? "" : ` (HTTP ${status})`}`;
  if (status === 404 && name !== "NoSuchBucket") return { error: fault("missing", "no such object"), again: false };
  if (status === 416) return { error: fault("short", "the object ends before the range"), again: false };
  if (status === undefined && (errno !== undefined || name === "TimeoutError" || name === "AbortError")) {
    return { error: fault("unavailable", errno ?? "timed out"), again: true };
  }
  const overloaded = status !== undefined && status >= 500 && status !== 501;
  // 409 is a conditional write that met another one under way; who won shows in the next attempt.
  if (overloaded || status === 429 || status === 408 || status === 409 || PASSING.has(name)) {
    return { error: fault("unavailable", answer), again: true };
  }
  // Not what S3 sends: a proxy's page, or an answer cut short.
  if (status !== undefined && status < 300)
    return { error: fault("unavailable", `unreadable answer, ${answer}`), again: true };
  const advice = status === 501 ? ADVICE.get("NotImplemented") : ADVICE.get(name);
  const said = text === "" || text === name ? "" : `: ${text}`;
  return { error: fault("denied", `${answer}${said}${advice === undefined ? "" : `; ${advice}`}`), again: false };
}

/** True when a create found its key taken. */
export function isTaken(error: unknown): boolean {
  return read(error).status === 412;
}

interface FaultFacts {
  readonly name: string;
  readonly status: number | undefined;
  readonly errno: string | undefined;
  readonly text: string;
}

function read(error: unknown): FaultFacts {
  if (!(error instanceof Error)) return { name: "unknown error", status: undefined, errno: undefined, text: "" };
  const metadata: unknown = "$metadata" in error ? error.$metadata : undefined;
  const status =
    numberAt(metadata, "httpStatusCode") ?? numberAt("$response" in error ? error.$response : undefined, "statusCode");
  const errno = "code" in error && typeof error.code === "string" ? error.code : undefined;
  // eslint-disable-next-line no-control-regex -- a server's text goes to a log as one line
  const text = error.message.replaceAll(/[\u0000-\u001f\u007f]+/g, " ").slice(0, SERVER_TEXT_MAX);
  return { name: error.name, status, errno, text };
}

function numberAt(value: unknown, key: string): number | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const found: unknown = Reflect.get(value, key);
  return typeof found === "number" ? found : undefined;
}
