/** Server-sent events as the protocol uses them (section 5.8): data and control, in turn. */

/** A data event's payload, or a control event's fields. */
export type SseEvent =
  | { readonly kind: "data"; readonly payload: Buffer }
  | {
      readonly kind: "control";
      readonly nextOffset: string;
      readonly cursor: string | undefined;
      readonly upToDate: boolean;
      readonly closed: boolean;
    };

function parseControl(text: string): SseEvent {
  const fields = JSON.parse(text) as Record<string, unknown>;
  const nextOffset = fields["streamNextOffset"];
  const cursor = fields["streamCursor"];
  if (typeof nextOffset !== "string") throw new Error(`a control event without streamNextOffset: ${text}`);
  return {
    kind: "control",
    nextOffset,
    cursor: typeof cursor === "string" ? cursor : undefined,
    upToDate: fields["upToDate"] === true || fields["streamClosed"] === true,
    closed: fields["streamClosed"] === true,
  };
}

function parseEvent(block: string, base64: boolean): SseEvent | undefined {
  let name = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    if (line.startsWith("event:")) name = line.slice(6).trim();
    // A parser strips one space after the colon, and one only.
    else if (line.startsWith("data:")) data.push(line.startsWith("data: ") ? line.slice(6) : line.slice(5));
    else if (line !== "" && !line.startsWith(":"))
      throw new Error(`an SSE line that is neither event nor data: ${line.slice(0, 80)}`);
  }
  if (name === "control") return parseControl(data.join("\n"));
  if (name === "data")
    return { kind: "data", payload: base64 ? Buffer.from(data.join(""), "base64") : Buffer.from(data.join("\n")) };
  if (data.length === 0) return undefined;
  throw new Error(`an SSE event of unknown name: ${name}`);
}

/** Whole events only: what was cut off at the end of the response is dropped, as a client must. */
export async function* decodeEvents(pieces: AsyncIterable<unknown>, base64: boolean): AsyncGenerator<SseEvent> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let rest = "";
  for await (const piece of pieces) {
    rest += decoder.decode(piece as Buffer, { stream: true });
    for (let end = rest.indexOf("\n\n"); end !== -1; end = rest.indexOf("\n\n")) {
      const event = parseEvent(rest.slice(0, end), base64);
      rest = rest.slice(end + 2);
      if (event !== undefined) yield event;
    }
  }
}
