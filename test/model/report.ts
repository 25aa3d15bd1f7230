/** A history that has no order, as a table: one line for each operation, by its call, and why the order cannot go on. */
import { parseToken } from "./history.ts";
import type { Instant, Operation, Outcome, Request } from "./history.ts";
import type { Stuck } from "./search.ts";

const TEXT_MAX = 24;

export function table(operations: readonly Operation[], stuck: Stuck): string {
  const why = new Map(stuck.reasons.map((reason) => [reason.id, reason.why]));
  const rows = operations.map((operation) => [
    why.has(operation.id)
      ? "!"
      : stuck.order.includes(operation.id)
        ? String(stuck.order.indexOf(operation.id) + 1)
        : "",
    `#${operation.id}`,
    `${operation.call.step}-${endText(operation)}`,
    operation.client,
    operation.path,
    requestText(operation.request),
    operation.outcome === null ? "(no answer)" : outcomeText(operation.outcome),
  ]);
  const head = ["place", "id", "steps", "client", "path", "request", "answer"];
  const widths = head.map((name, column) => Math.max(name.length, ...rows.map((row) => row[column]!.length)));
  const lines = [head, ...rows].map((row) => row.map((cell, column) => cell.padEnd(widths[column]!)).join("  "));
  const reasons = stuck.reasons.map(({ id, why: text }) => `  #${id} cannot come next: ${text}`);
  const order = stuck.order.length === 0 ? "none" : stuck.order.map((id) => `#${id}`).join(" ");
  return [
    "No order of these operations gives the answers that were seen.",
    ...lines.map((line) => line.trimEnd()),
    `The longest order found: ${order}`,
    "After it:",
    ...reasons,
  ].join("\n");
}

function endText(operation: Operation): string {
  if (operation.return !== null) return String(operation.return.step);
  const ended: Instant | null = operation.endedBy;
  return ended === null ? "?" : `(${ended.step})`;
}

function quoted(bytes: string): string {
  const text = bytes.length <= TEXT_MAX ? bytes : `${bytes.slice(0, TEXT_MAX)}…`;
  return `${JSON.stringify(text)}${bytes.length > TEXT_MAX ? ` (${bytes.length} bytes)` : ""}`;
}

function short(token: string): string {
  const parsed = parseToken(token);
  return parsed === null ? token : `${parsed.generation}_${parsed.position}`;
}

function requestText(request: Request): string {
  switch (request.kind) {
    case "create": {
      const { fork, ttlSeconds, expiresAtMs, closed, messages } = request;
      return [
        "create",
        fork === null ? "" : `from ${fork.source} at ${short(fork.offset)}+${fork.subOffset}`,
        ttlSeconds === null ? "" : `ttl ${ttlSeconds} s`,
        expiresAtMs === null ? "" : `until ${expiresAtMs}`,
        bodyText(messages),
        closed ? "closed" : "",
      ]
        .filter((part) => part !== "")
        .join(" ");
    }
    case "append": {
      const { producer, streamSeq, close, messages } = request;
      return [
        messages?.length === 0 ? "" : `append ${bodyText(messages)}`,
        close ? "close" : "",
        producer === null ? "" : `by ${producer.id} ${producer.epoch}:${producer.seq}`,
        streamSeq === null ? "" : `Stream-Seq ${streamSeq}`,
      ]
        .filter((part) => part !== "")
        .join(" ");
    }
    case "read":
      return `read ${short(request.offset)}${request.wait ? " and wait" : ""}`;
    default:
      return request.kind;
  }
}

function bodyText(messages: readonly string[] | null): string {
  if (messages === null) return "(malformed)";
  return messages.length === 0 ? "" : messages.map(quoted).join(" ");
}

function outcomeText(outcome: Outcome): string {
  switch (outcome.kind) {
    case "data":
      return [
        quoted(outcome.bytes),
        `up to ${short(outcome.next)}`,
        outcome.upToDate ? "up to date" : "",
        outcome.closed ? "closed" : "",
      ]
        .filter((part) => part !== "")
        .join(" ");
    case "stale-epoch":
      return `stale-epoch, ${outcome.epoch} is in force`;
    case "gap":
      return `gap, expects ${outcome.expected}`;
    default: {
      if (!("shown" in outcome)) return outcome.kind;
      const { tail, closed } = outcome.shown;
      const producer = outcome.kind === "duplicate" ? ` ${outcome.epoch}:${outcome.seq}` : "";
      return `${outcome.kind}${producer} ${tail === null ? "" : short(tail)}${closed ? " closed" : ""}`.trimEnd();
    }
  }
}
