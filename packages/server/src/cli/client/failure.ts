/** How a command ends badly: one kind, one exit code, one line that says what, where and what to do. */

export type FailureKind =
  | "failed"
  | "usage"
  | "not-found"
  | "conflict"
  | "unauthorised"
  | "server"
  | "timeout"
  | "interrupted";

/** The exit codes; `--help` and the documentation show this table. */
export const EXIT_CODES: Readonly<Record<FailureKind, { readonly code: number; readonly meaning: string }>> = {
  failed: { code: 1, meaning: "something on this machine failed, such as a file that cannot be read" },
  usage: { code: 2, meaning: "the command line or its input is wrong, or the server refuses the request as invalid" },
  "not-found": { code: 3, meaning: "there is no such stream or subscription, or it is gone" },
  conflict: { code: 4, meaning: "the stream is closed or has another type, or a sequence, epoch or lease was lost" },
  unauthorised: { code: 5, meaning: "the server wants other credentials" },
  server: { code: 6, meaning: "the server failed, is overloaded or cannot be reached" },
  timeout: { code: 7, meaning: "the server did not answer within --timeout" },
  interrupted: { code: 130, meaning: "interrupted by Ctrl+C" },
};

/** A command's end that a user meets. The message is one sentence without the command's name. */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly kind: FailureKind;
  /** The server may or may not have taken the request. */
  readonly inDoubt: boolean;

  constructor(kind: FailureKind, message: string, inDoubt = false) {
    super(message);
    this.kind = kind;
    this.inDoubt = inDoubt;
  }
}

const REASON_CHARS_MAX = 300;

/** The failure that an answer other than 2xx means. `body` is what the server says, of any shape. */
export function failureOfAnswer(status: number, headers: Headers, body: string): Failure {
  const reason = reasonOf(body);
  const said = `(${status}${reason === "" ? "" : `: ${reason}`})`;
  const epoch = headers.get("producer-epoch");
  if (status === 403 && epoch !== null) {
    return new Failure(
      "conflict",
      `the producer's epoch is stale, the server knows epoch ${epoch} ${said}; use --producer-epoch ${Number(epoch) + 1}`,
    );
  }
  if (status === 401 || status === 403) {
    return new Failure("unauthorised", `the server refuses the credentials ${said}; set --auth or STREAM_AUTH`);
  }
  if (status === 404)
    return new Failure("not-found", `not found ${said}; check the name and --url, or create it first`);
  if (status === 410) {
    return new Failure("not-found", `gone ${said}: deleted, or the offset is of bytes that are no longer kept`);
  }
  if (status === 409 || status === 412) return conflictOf(headers, said);
  if (status >= 300 && status < 400) {
    const target = headers.get("location") ?? "somewhere else";
    return new Failure("server", `the server redirects to ${target} ${said}; use the new address as --url`);
  }
  if (status === 405 || status === 501) {
    return new Failure("server", `the server does not support this ${said}; see what it offers in its documentation`);
  }
  if (status === 429) return new Failure("server", `the server is busy ${said}; try again later`);
  if (status >= 500) return new Failure("server", `the server failed ${said}; try again later`, status !== 503);
  return new Failure("usage", `the server refuses the request ${said}; correct it and run the command again`);
}

function conflictOf(headers: Headers, said: string): Failure {
  if (headers.get("stream-closed")?.toLowerCase() === "true") {
    return new Failure("conflict", `the stream is closed ${said}; nothing can be written to it any more`);
  }
  const expected = headers.get("producer-expected-seq");
  if (expected !== null) {
    return new Failure(
      "conflict",
      `the producer's sequence does not fit, the server expects ${expected} ${said}; write with a new --producer-id or a higher --producer-epoch`,
    );
  }
  return new Failure("conflict", `conflict ${said}; compare the stream's settings with: head`);
}

/** Problem details, `{ error }` objects and plain text, cut to one printable line. */
function reasonOf(body: string): string {
  return oneLine(textIn(body)).slice(0, REASON_CHARS_MAX);
}

function textIn(body: string): string {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return body.trimStart().startsWith("<") ? "" : body;
  }
  if (typeof value !== "object" || value === null) return body;
  const { detail, message, error, title, code } = value as Record<string, unknown>;
  if (typeof error === "object" && error !== null) return textIn(JSON.stringify(error));
  const said = [code, detail ?? message ?? error ?? title].filter((part) => typeof part === "string");
  const holder = (value as Record<string, unknown>)["current_holder"];
  if (typeof holder === "string") said.push(`held by ${holder}`);
  return said.length === 0 ? body : said.join(", ");
}

/** Control characters would let a server write on the terminal. */
export function oneLine(text: string): string {
  // oxlint-disable-next-line no-control-regex -- they are what is taken out
  return text.replaceAll(/[\u0000-\u001F\u007F-\u009F\s]+/g, " ").trim();
}

interface NetworkFault {
  readonly code: string;
  /** No byte of the request can have reached the server. */
  readonly unreached: boolean;
}

const UNREACHED: ReadonlySet<string> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
]);

/** What fetch failed of, or undefined when the error is none of the network. */
export function networkFaultOf(error: unknown): NetworkFault | undefined {
  if (!(error instanceof TypeError) || !/^(?:fetch failed|terminated|network error)/.test(error.message))
    return undefined;
  const cause: unknown = error.cause;
  const code = cause instanceof Error && "code" in cause ? String(cause.code) : oneLine(String(cause ?? error.message));
  return { code, unreached: UNREACHED.has(code) };
}
