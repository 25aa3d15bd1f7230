/** Content codings of response bodies (RFC 9110 sections 8.4.1 and 12.5.3): which one a client takes, and what they are good for. */

export type ContentCoding = "gzip" | "deflate";

const MEMBER = /^[ \t]*([!#$%&'*+.^_`|~0-9a-z-]+)[ \t]*(?:;(.*))?$/;
const WEIGHT = /^[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*$/;

/**
 * The coding for a client that sent this Accept-Encoding: the one of the highest weight, gzip of two equal ones, and null
 * where the client takes neither, would rather have the bytes as they are, or did not say. `null` means uncoded even to a
 * client that refuses `identity`, for an answer in a coding it did not name would serve it no better.
 */
export function negotiateEncoding(acceptEncoding: string | undefined): ContentCoding | null {
  if (acceptEncoding === undefined) return null;
  const weights = weightsOf(acceptEncoding);
  const others = weights.get("*") ?? 0;
  const gzip = weights.get("gzip") ?? weights.get("x-gzip") ?? others;
  const deflate = weights.get("deflate") ?? others;
  const best = Math.max(gzip, deflate);
  if (best === 0 || best < (weights.get("identity") ?? others)) return null;
  return gzip === best ? "gzip" : "deflate";
}

/** Weight of each coding that is named; one whose weight is malformed is taken as refused, and the first of two counts. */
function weightsOf(acceptEncoding: string): ReadonlyMap<string, number> {
  const weights = new Map<string, number>();
  for (const text of acceptEncoding.toLowerCase().split(",")) {
    const member = MEMBER.exec(text);
    if (member === null || weights.has(member[1]!)) continue;
    const parameter = member[2];
    weights.set(member[1]!, parameter === undefined ? 1 : Number(WEIGHT.exec(parameter)?.[1] ?? 0));
  }
  return weights;
}

/** Media types whose bytes are compressed already: coding them again costs time and saves nothing. */
const DENSE =
  /^(?:image\/(?!svg\+xml$|bmp$)|video\/|audio\/(?!midi$|wav$|x-wav$)|font\/woff|.*\+(?:zip|gzip)$|application\/(?:zip|gzip|x-gzip|zstd|zlib|x-(?:bzip2?|xz|7z-compressed|rar-compressed|compress)|vnd\.rar|java-archive|pdf|ogg|vnd\.openxmlformats-.*)$)/;

/** Whether bodies of this Content-Type are worth compressing; unknown types and `application/octet-stream` are. */
export function isCompressible(contentType: string): boolean {
  const end = contentType.indexOf(";");
  const mediaType = (end < 0 ? contentType : contentType.slice(0, end)).trim().toLowerCase();
  return !DENSE.test(mediaType);
}
