/** What the operator is told of a request that failed, and what its client is. */
import { StreamError } from "@coldbrook/core";
import { faultProblem } from "./problem.ts";
import type { Problem } from "./problem.ts";
import type { HttpLog } from "./server.ts";

/** Faults that the operator must hear of; the others are told by figures and by other lines. */
const LOGGED: ReadonlySet<string> = new Set(["corrupt-object", "corrupt-wal", "corrupt-catalog", "store-unavailable"]);

interface FailedRequest {
  readonly method?: string | undefined;
  readonly url?: string | undefined;
}

/** Logs the failure if it is the operator's business. Returns what to answer if an answer can still be given. */
export function logFailure(log: HttpLog, request: FailedRequest, error: unknown): Problem {
  // The query may hold credentials.
  const target = (request.url ?? "").split("?", 1)[0];
  if (error instanceof StreamError) {
    if (LOGGED.has(error.code)) log.error({ code: error.code, target }, error.message);
    return faultProblem(error.code, error.message);
  }
  log.error({ err: error, method: request.method, target }, "a request failed unexpectedly");
  return {
    status: 500,
    code: "internal",
    detail: "the server failed to handle this request; its log says why",
    close: true,
  };
}
