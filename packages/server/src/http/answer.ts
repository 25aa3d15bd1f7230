/** Whole responses: what a request without a streamed body is answered, however its connection is served. */
import type { Problem } from "./problem.ts";
import { problemBody } from "./problem.ts";

/** A response without a body. `headers` is name, value, name, value. */
export interface EmptyAnswer {
  readonly status: number;
  readonly headers: readonly string[];
  /** To a HEAD: that there is no body says nothing of its length. */
  readonly isHead?: boolean;
}

export type Answer = EmptyAnswer | Problem;

/** On every response (protocol section 12.7, CORS). */
export const COMMON: readonly string[] = [
  "X-Content-Type-Options",
  "nosniff",
  "Cross-Origin-Resource-Policy",
  "cross-origin",
  "Access-Control-Allow-Origin",
  "*",
  "Access-Control-Expose-Headers",
  "*",
];

/** Headers and body of an answer, those aside that are on every response. */
export function partsOf(answer: Answer): { readonly headers: readonly string[]; readonly body: string } {
  if ("detail" in answer) return problemParts(answer);
  const { status, headers, isHead } = answer;
  // A 204 has no length to tell (RFC 9110 section 8.6).
  const isUnsaid = status === 204 || isHead === true;
  return { headers: isUnsaid ? headers : [...headers, "Content-Length", "0"], body: "" };
}

function problemParts(problem: Problem): { readonly headers: readonly string[]; readonly body: string } {
  const body = problem.json ?? problemBody(problem);
  const headers = [
    "Content-Type",
    problem.json === undefined ? "application/problem+json" : "application/json",
    "Content-Length",
    String(Buffer.byteLength(body)),
    "Cache-Control",
    "no-store",
    ...(problem.headers ?? []),
    ...(problem.close === true ? ["Connection", "close"] : []),
  ];
  return { headers, body };
}
