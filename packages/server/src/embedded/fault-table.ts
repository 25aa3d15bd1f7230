/** Faults that a test wishes for: which request meets which, and the orders to inject them by HTTP. Nothing here touches a response. */
import type { Random } from "@coldbrook/core";
import type { InjectedFault } from "./types.ts";

/** One fault for each path; a new one replaces it. */
export class FaultTable {
  readonly #faults = new Map<string, InjectedFault>();
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  get isEmpty(): boolean {
    return this.#faults.size === 0;
  }

  inject(path: string, fault: Omit<InjectedFault, "count"> & { count?: number | undefined }): void {
    this.#faults.set(path, { ...fault, count: fault.count ?? 1 });
  }

  clear(): void {
    this.#faults.clear();
  }

  /** The fault that a request of exactly this path meets, used up by one; null when there is none for it. */
  take(path: string, method: string): InjectedFault | null {
    const fault = this.#faults.get(path);
    if (fault === undefined) return null;
    if (fault.method !== undefined && fault.method.toUpperCase() !== method.toUpperCase()) return null;
    if (fault.probability !== undefined && this.#random() >= fault.probability) return null;
    fault.count -= 1;
    if (fault.count <= 0) this.#faults.delete(path);
    return fault;
  }
}

/** Milliseconds to wait first. */
export function delayOf(fault: InjectedFault, random: Random): number {
  const { delayMs = 0, jitterMs = 0 } = fault;
  return delayMs > 0 ? delayMs + random() * jitterMs : 0;
}

/** Whether the fault changes the response that there would be without it. */
export function changesResponse(fault: InjectedFault): boolean {
  return fault.truncateBodyBytes !== undefined || fault.corruptBody === true || fault.injectSseEvent !== undefined;
}

/** The body as the client gets it: cut first, then spoilt. */
export function faultyBody(body: Uint8Array, fault: InjectedFault): Uint8Array {
  const cut = fault.truncateBodyBytes === undefined ? body : body.subarray(0, Math.max(0, fault.truncateBodyBytes));
  return fault.corruptBody === true ? spoilt(cut) : cut;
}

/** No JSON text starts with these, and one byte in ten is wrong. */
function spoilt(body: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(body);
  for (let at = 0; at < bytes.length; at += 10) bytes[at] = 0x5a;
  bytes.set(Buffer.from("XY").subarray(0, bytes.length));
  return bytes;
}

/** The event as it goes over the wire; its data is sent as it is. */
export function sseEventText({ eventType, data }: { eventType: string; data: string }): string {
  return `event: ${eventType}\ndata: ${data}\n\n`;
}

export type FaultOrder =
  | { readonly kind: "fault"; readonly path: string; readonly fault: InjectedFault }
  | { readonly kind: "bad"; readonly detail: string };

const NUMBERS = ["status", "count", "retryAfter", "delayMs", "jitterMs", "truncateBodyBytes", "probability"] as const;

/** Reads the body of `POST /_test/inject-error`: `path`, and at least one kind of fault. */
export function parseFaultOrder(body: Uint8Array): FaultOrder {
  let given: unknown;
  try {
    given = JSON.parse(Buffer.from(body).toString("utf8"));
  } catch {
    return { kind: "bad", detail: "Invalid JSON body" };
  }
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    return { kind: "bad", detail: "Invalid JSON body: an object with a path and a fault is needed" };
  }
  return readOrder(given as Readonly<Record<string, unknown>>);
}

function readOrder(given: Readonly<Record<string, unknown>>): FaultOrder {
  const { path, injectSseEvent, method } = given as { path?: unknown; injectSseEvent?: unknown; method?: unknown };
  if (typeof path !== "string" || path === "") return { kind: "bad", detail: "Missing required field: path" };
  const fault: InjectedFault = { count: 1 };
  for (const name of NUMBERS) {
    const value = given[name];
    if (value === undefined || value === null) continue;
    if (typeof value !== "number" || !Number.isFinite(value))
      return { kind: "bad", detail: `${name} must be a number` };
    fault[name] = value;
  }
  if (fault.status !== undefined && !(Number.isInteger(fault.status) && fault.status >= 200 && fault.status <= 599)) {
    return { kind: "bad", detail: "status must be 200 to 599" };
  }
  if (typeof method === "string") fault.method = method;
  if (isSet(given["dropConnection"])) fault.dropConnection = true;
  if (isSet(given["corruptBody"])) fault.corruptBody = true;
  if (injectSseEvent !== undefined && injectSseEvent !== null) {
    const { eventType, data } = injectSseEvent as { eventType?: unknown; data?: unknown };
    if (typeof eventType !== "string" || typeof data !== "string") {
      return { kind: "bad", detail: "injectSseEvent needs eventType and data, both strings" };
    }
    fault.injectSseEvent = { eventType, data };
  }
  if (
    fault.status === undefined &&
    fault.delayMs === undefined &&
    fault.dropConnection !== true &&
    !changesResponse(fault)
  ) {
    return {
      kind: "bad",
      detail:
        "Must specify at least one fault type: status, delayMs, dropConnection, truncateBodyBytes, corruptBody, or injectSseEvent",
    };
  }
  return { kind: "fault", path, fault };
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null && value !== false;
}
