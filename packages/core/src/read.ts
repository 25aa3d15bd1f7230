/** The query of a GET (protocol sections 5.6 to 5.8). Whether the offset is well-formed is offset.ts's to say. */

export interface ReadQuery {
  readonly offset: string | null;
  readonly live: "long-poll" | "sse" | null;
  readonly cursor: string | null;
}

export interface ReadQueryError {
  readonly error: string;
}

function decodePart(text: string): string | null {
  if (!text.includes("%") && !text.includes("+")) return text;
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return null;
  }
}

/** Reads a URL's query, with or without its `?`. Unknown parameters are ignored; the first `cursor` counts. */
export function parseReadQuery(search: string): ReadQuery | ReadQueryError {
  let offset: string | null = null;
  let live: "long-poll" | "sse" | null = null;
  let cursor: string | null = null;
  const query = search.startsWith("?") ? search.slice(1) : search;
  for (const pair of query === "" ? [] : query.split("&")) {
    const equals = pair.indexOf("=");
    const name = decodePart(equals < 0 ? pair : pair.slice(0, equals));
    if (name !== "offset" && name !== "live" && name !== "cursor") continue;
    const value = equals < 0 ? "" : decodePart(pair.slice(equals + 1));
    if (value === null) return { error: `${name} has a malformed percent-encoding` };
    if (name === "cursor") {
      cursor ??= value;
    } else if (name === "offset") {
      if (offset !== null) return { error: "offset is given more than once" };
      if (value === "") return { error: "offset is empty" };
      offset = value;
    } else {
      if (live !== null) return { error: "live is given more than once" };
      if (value !== "long-poll" && value !== "sse") return { error: "live must be long-poll or sse" };
      live = value;
    }
  }
  if (live !== null && offset === null) return { error: `live=${live} needs an offset` };
  return { offset, live, cursor };
}
