/**
 * Why a delivery failed. Details reach subscribers and logs, so they hold no part of the URL or the headers, no address
 * that a name resolved to (that would let a stranger read the internal DNS) and no text of a certificate: only limits
 * and error codes.
 */

export type WebhookFailure =
  | "rejected"
  | "dns"
  | "connect"
  | "timeout"
  | "too-large"
  | "redirect"
  | "aborted"
  | "busy"
  | "protocol";

/** A delivery's end without an answer; stays inside of this folder. */
export class DeliveryFault extends Error {
  readonly reason: WebhookFailure;

  constructor(reason: WebhookFailure, detail: string) {
    super(detail);
    this.name = "DeliveryFault";
    this.reason = reason;
  }
}

/** The error's code where it has a plain one, else its kind. */
export function codeOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (typeof code === "string" && /^[A-Z][A-Z0-9_]{0,63}$/.test(code)) return code;
  return error instanceof Error && /^[A-Za-z]{1,64}$/.test(error.name) ? error.name : "unknown error";
}

const REASON_OF_CODE: Readonly<Record<string, readonly [WebhookFailure, string]>> = {
  UND_ERR_HEADERS_TIMEOUT: ["timeout", "the receiver sent no response headers in time"],
  UND_ERR_BODY_TIMEOUT: ["timeout", "the receiver stopped in the middle of its response"],
  UND_ERR_HEADERS_OVERFLOW: ["too-large", "the receiver's response headers are too large"],
  UND_ERR_RES_EXCEEDED_MAX_SIZE: ["too-large", "the receiver's response body is too large"],
  UND_ERR_MAX_ORIGINS_REACHED: ["busy", "connections to too many hosts are open"],
  UND_ERR_SOCKET: ["connect", "the connection ended before the receiver's response was complete"],
  UND_ERR_INFO: ["connect", "the connection ended before the receiver's response was complete"],
  UND_ERR_INVALID_ARG: ["protocol", "the request cannot be written as HTTP"],
  // What the parser says of a response; it has a name and, for most responses, no code.
  HTTPParserError: ["protocol", "the receiver's response is not valid HTTP"],
  UND_ERR_DESTROYED: ["aborted", "the server is stopping"],
  UND_ERR_CLOSED: ["aborted", "the server is stopping"],
};

/** Any error of a request as a fault. */
export function faultOf(error: unknown): DeliveryFault {
  if (error instanceof DeliveryFault) return error;
  const code = codeOf(error);
  const known = REASON_OF_CODE[code];
  if (known !== undefined) return new DeliveryFault(known[0], known[1]);
  if (code.startsWith("HPE_"))
    return new DeliveryFault("protocol", `the receiver's response is not valid HTTP (${code})`);
  if (/^E[A-Z_]+$/.test(code)) return new DeliveryFault("connect", `the connection to the receiver broke (${code})`);
  return new DeliveryFault("protocol", `the delivery failed for an unforeseen reason (${code})`);
}
