/** A request's body becomes messages: one, or in JSON mode as many as its array holds (protocol section 9.1). */
import { isUtf8 } from "node:buffer";
import { frameJson } from "@coldbrook/core";
import type { FramedJson } from "@coldbrook/core";

export function frameBody(body: Uint8Array, json: boolean, mode: "create" | "append"): FramedJson {
  if (body.length === 0) return { kind: "messages", stored: body, lengths: [] };
  if (!json) return { kind: "messages", stored: body, lengths: [body.length] };
  if (!isUtf8(body)) return { kind: "bad", detail: "the body is not valid UTF-8" };
  return frameJson(body, mode);
}
