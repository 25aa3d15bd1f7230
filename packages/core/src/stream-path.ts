/** A stream's name is its URL path below the stream root in one canonical percent-encoding: equal names are equal strings. */
import { PATH_BYTES_MAX } from "./limits.ts";

export type StreamPath =
  | { readonly kind: "path"; readonly path: string }
  | { readonly kind: "bad"; readonly detail: string };

/** Characters that a path segment may hold unescaped (RFC 3986 `pchar`), and the separator. */
const PLAIN = /^[A-Za-z0-9_~.\-!*'():@$,;=&+/]+$/;
const VISIBLE_ASCII = /^[\x21-\x7e]+$/;
const RESERVED_SEGMENT = "__ds";
/** What encodeURIComponent escapes though `pchar` has it. */
const NEEDLESS_ESCAPE = /%(?:3A|40|24|2C|3B|3D|26|2B)/g;

function bad(detail: string): StreamPath {
  return { kind: "bad", detail };
}

function segmentFault(segment: string): string | null {
  if (segment === "") return "path has an empty segment";
  if (segment === "." || segment === "..") return "path has a dot segment";
  return null;
}

function hasControl(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || (code >= 0x7f && code <= 0x9f)) return true;
  }
  return false;
}

function decodeSegment(segment: string): string | null {
  try {
    return decodeURIComponent(segment);
  } catch {
    return null;
  }
}

/** Reads the URL path below the stream root: no leading slash, no query. An escaped slash stays a part of its segment. */
export function parseStreamPath(raw: string): StreamPath {
  if (raw === "") return bad("path is empty");
  const plain = PLAIN.test(raw);
  if (!plain && !VISIBLE_ASCII.test(raw)) return bad("path has a character that must be percent-encoded");
  const segments = raw.split("/");
  for (let index = 0; index < segments.length; index++) {
    const given = segments[index] ?? "";
    const segment = plain ? given : decodeSegment(given);
    if (segment === null) return bad("path has a malformed percent-encoding");
    const fault = segmentFault(segment);
    if (fault !== null) return bad(fault);
    if (index === 0 && segment === RESERVED_SEGMENT) return bad(`paths below ${RESERVED_SEGMENT} are reserved`);
    if (plain) continue;
    if (hasControl(segment)) return bad("path has a control character");
    segments[index] = encodeURIComponent(segment).replace(NEEDLESS_ESCAPE, decodeURIComponent);
  }
  const path = plain ? raw : segments.join("/");
  return path.length > PATH_BYTES_MAX ? bad(`path is longer than ${PATH_BYTES_MAX} bytes`) : { kind: "path", path };
}
