// @ts-check
/** Where Coldbrook and the Node reference server answer differently on purpose, as data. */

import { isUtf8 } from "node:buffer";

/** @typedef {import("./sides.js").Facts} Facts */
/** @typedef {import("./sessions.js").Operation} Operation */

/**
 * @typedef {object} Difference
 * @property {Operation} operation
 * @property {Facts} ours
 * @property {Facts} theirs
 * @property {string} fact name of the one that differs
 */

/**
 * @typedef {object} Known
 * @property {string} name
 * @property {string} section of the protocol
 * @property {"coldbrook" | "reference" | "both"} follows which of the two does what the section says
 * @property {string} reason
 * @property {boolean} harmless the session can go on: both servers hold the same
 * @property {(difference: Difference) => boolean} matches
 */

/** @param {Difference} difference @param {RegExp} ours @param {RegExp} theirs */
function statuses(difference, ours, theirs) {
  return (
    difference.fact === "status" &&
    ours.test(difference.ours["status"] ?? "") &&
    theirs.test(difference.theirs["status"] ?? "")
  );
}

/** @param {Difference} difference @param {string} name */
function sent({ operation }, name) {
  return operation.headers[name] ?? "";
}

/** @param {Difference} difference */
function isFork({ operation }) {
  return operation.source !== undefined;
}

/** @param {Difference} difference */
function isRead({ operation }) {
  return operation.method === "GET";
}

/** One of at most 256 bytes. @param {string} text */
function isMediaType(text) {
  return text === "" || (text.trim().length <= 256 && /^[^\s/,;]+\/[^\s/,;]+\s*(?:;[^,]*)?$/.test(text.trim()));
}

/** JSON as a server that parses it prints it, its text as latin1. @param {string} latin1 */
function reprinted(latin1) {
  try {
    return JSON.stringify(JSON.parse(Buffer.from(latin1, "latin1").toString("utf8")));
  } catch {
    return latin1;
  }
}

/** @type {readonly Known[]} */
export const KNOWN_DIFFERENCES = [
  {
    name: "times are RFC 3339",
    section: "5.1",
    follows: "coldbrook",
    reason:
      "Stream-Expires-At is an RFC 3339 time with a zone that exists; the reference takes what Date.parse takes, and fails with 500 on some days that do not exist",
    harmless: false,
    matches: (difference) => difference.fact === "status" && "Stream-Expires-At" in difference.operation.headers,
  },
  {
    name: "Stream-Closed in any case",
    section: "4.1",
    follows: "coldbrook",
    reason: "the value true counts in any case; the reference compares it exactly",
    harmless: false,
    matches: (difference) =>
      /^true$/i.test(sent(difference, "Stream-Closed").trim()) && sent(difference, "Stream-Closed") !== "true",
  },
  {
    name: "a long-poll on an empty stream waits",
    section: "5.7",
    follows: "coldbrook",
    reason:
      "there is no data to answer with, whatever the offset is called; the reference answers 200 without a message at once",
    harmless: true,
    matches: (difference) =>
      difference.operation.live === "long-poll" &&
      statuses(difference, /^204$/, /^200$/) &&
      /^(?:\[\])?$/.test(difference.theirs["body"] ?? ""),
  },
  {
    name: "a fork keeps its source's Content-Type",
    section: "4.2",
    follows: "both",
    reason: "parameters of the media type are not compared, and the source's stay; the reference keeps the fork's",
    harmless: false,
    matches: (difference) => isFork(difference) && difference.fact === "content-type",
  },
  {
    name: "no ETag on HEAD",
    section: "5.5",
    follows: "both",
    reason: "an entity tag names the bytes of a range, and HEAD has none",
    harmless: true,
    matches: ({ operation, fact }) => operation.method === "HEAD" && fact === "etag",
  },
  {
    name: "an empty live is refused",
    section: "5.6",
    follows: "both",
    reason: "a mode that does not exist is a mistake, also when it is empty; the reference takes it for none",
    harmless: true,
    matches: (difference) =>
      isRead(difference) &&
      statuses(difference, /^400$/, /^[234]/) &&
      (difference.operation.live === "" || /live=(?:&|$)/.test(difference.operation.query ?? "")),
  },
  {
    name: "304 carries the stream's headers",
    section: "10.1",
    follows: "coldbrook",
    reason:
      "a cache freshens what it has stored with them (RFC 9110 section 15.4.5); the reference sends the entity tag alone",
    harmless: true,
    matches: ({ ours, theirs }) => ours["status"] === "304" && theirs["status"] === "304",
  },
  {
    name: "an entity tag names bytes",
    section: "10.1",
    follows: "both",
    reason:
      "the same range has the same tag by whichever name its start was asked for; the reference's tag holds the offset's text",
    harmless: true,
    matches: (difference) =>
      difference.operation.known === true &&
      (statuses(difference, /^304$/, /^200$/) || statuses(difference, /^200$/, /^304$/)),
  },
  {
    name: "an offset of another stream is gone",
    section: "8",
    follows: "coldbrook",
    reason:
      "an offset that this stream never gave out, or gave out in an earlier life, gets 410 or 400; the reference reads whatever lies there now",
    harmless: true,
    matches: (difference) => isRead(difference) && statuses(difference, /^4(?:10|00)$/, /^(?:200|204|304)$/),
  },
  {
    name: "a fork at an offset of another stream",
    section: "4.2",
    follows: "coldbrook",
    reason: "as for reads; the reference forks at whatever lies there",
    harmless: false,
    matches: (difference) =>
      isFork(difference) && difference.operation.forkOffset !== undefined && statuses(difference, /^400$/, /^20/),
  },
  {
    name: "a fork is there for a plain PUT of its configuration",
    section: "5.1",
    follows: "coldbrook",
    reason:
      "the stream exists with the configuration that is asked for; the reference refuses because it was made by a fork",
    harmless: true,
    matches: (difference) =>
      difference.operation.method === "PUT" && !isFork(difference) && statuses(difference, /^200$/, /^409$/),
  },
  {
    name: "an empty Stream-TTL is malformed",
    section: "5.1",
    follows: "coldbrook",
    reason: "the value is a decimal integer; the reference takes an empty one for none",
    harmless: false,
    matches: (difference) =>
      sent(difference, "Stream-TTL").trim() === "" &&
      "Stream-TTL" in difference.operation.headers &&
      statuses(difference, /^400$/, /^20/),
  },
  {
    name: "JSON is UTF-8",
    section: "9.1.4",
    follows: "coldbrook",
    reason: "bytes that are not UTF-8 are no JSON (RFC 8259 section 8.1); the reference stores U+FFFD in their place",
    harmless: false,
    matches: (difference) =>
      statuses(difference, /^400$/, /^20/) && !isUtf8(Buffer.from(difference.operation.body ?? "", "latin1")),
  },
  {
    name: "JSON tokens are kept",
    section: "9.1",
    follows: "both",
    reason:
      "numbers, escapes and repeated keys come back as they were sent; the reference parses and prints them anew, which loses digits",
    harmless: true,
    matches: ({ ours, theirs, fact }) =>
      fact === "body" && reprinted(ours["body"] ?? "") === reprinted(theirs["body"] ?? ""),
  },
  {
    name: "white space around a media type",
    section: "4",
    follows: "both",
    reason: "it is no part of the value (RFC 9110 section 5.5)",
    harmless: false,
    matches: ({ ours, theirs, fact }) => fact === "content-type" && ours[fact] === theirs[fact]?.trim(),
  },
  {
    name: "one event for each batch",
    section: "5.8",
    follows: "both",
    reason:
      "messages of text and bytes that are there together come as one event, as a catch-up read has them; the reference sends one each",
    harmless: true,
    matches: ({ operation, fact, ours, theirs }) =>
      operation.live === "sse" &&
      fact === "body" &&
      /event: data/.test(ours[fact] ?? "") &&
      /event: data/.test(theirs[fact] ?? ""),
  },
  {
    name: "a stale producer is told where the stream ends",
    section: "5.2.1",
    follows: "both",
    reason: "a 403 carries Stream-Next-Offset as well; the section neither asks for it nor forbids it",
    harmless: true,
    matches: ({ ours, theirs, fact }) =>
      ours["status"] === "403" && theirs["status"] === "403" && /^stream-(?:next-offset|closed)$/.test(fact),
  },
  {
    name: "times in one form",
    section: "5.5",
    follows: "both",
    reason: "Stream-Expires-At comes back in UTC with milliseconds; the reference echoes its text",
    harmless: true,
    matches: ({ ours, theirs, fact }) =>
      fact === "stream-expires-at" && Date.parse(ours[fact] ?? "") === Date.parse(theirs[fact] ?? ""),
  },
  {
    name: "a repeated fork's body is not compared",
    section: "4.2",
    follows: "both",
    reason:
      "a fork that exists as it is asked for is 200; the reference refuses a repeated one that brings bytes, or names its offset otherwise",
    harmless: true,
    matches: (difference) => isFork(difference) && statuses(difference, /^200$/, /^409$/),
  },
  {
    name: "a closed stream's tail is up to date",
    section: "5.8",
    follows: "both",
    reason: "the last control event says upToDate beside streamClosed; the section asks for the latter only",
    harmless: true,
    matches: ({ operation, fact, ours, theirs }) =>
      operation.live === "sse" &&
      fact === "body" &&
      (ours[fact] ?? "").replaceAll('"upToDate":true,"streamClosed"', '"streamClosed"') === theirs[fact],
  },
  {
    name: "a Stream-TTL has a bound",
    section: "5.1",
    follows: "both",
    reason:
      "a window of more than a hundred years is refused, so that no time overflows; the reference prints one as 1e+26",
    harmless: false,
    matches: (difference) =>
      Number(sent(difference, "Stream-TTL")) > 3_155_760_000 && statuses(difference, /^400$/, /^20/),
  },
  {
    name: "a byte order mark is no JSON",
    section: "9.1.4",
    follows: "coldbrook",
    reason: "a sender must not add one (RFC 8259 section 8.1); the reference's decoder drops it",
    harmless: false,
    matches: (difference) =>
      statuses(difference, /^400$/, /^20/) && (difference.operation.body ?? "").startsWith("\xef\xbb\xbf"),
  },
  {
    name: "a zombie is fenced on a closed stream too",
    section: "5.2.1",
    follows: "both",
    reason:
      "403 for a stale epoch comes before 409 for the closure, as the protocol's conformance suite wants it; the section's last sentence would have 409",
    harmless: true,
    matches: (difference) => statuses(difference, /^403$/, /^409$/) && difference.theirs["stream-closed"] === "true",
  },
  {
    name: "a stream that expires at once",
    section: "5.1",
    follows: "coldbrook",
    reason:
      "Stream-TTL: 0 is a non-negative integer: the stream is created and is over; the reference creates it and fails with 500",
    harmless: false,
    matches: (difference) => sent(difference, "Stream-TTL").trim() === "0" && statuses(difference, /^201$/, /^500$/),
  },
  {
    name: "a Content-Type is a media type",
    section: "12.4",
    follows: "both",
    reason: "what is none, or longer than 256 bytes, is refused rather than stored or read as application/octet-stream",
    harmless: false,
    matches: (difference) => statuses(difference, /^400$/, /^20/) && !isMediaType(sent(difference, "Content-Type")),
  },
  {
    name: "names have a length",
    section: "5.2",
    follows: "both",
    reason:
      "Stream-Seq and Producer-Id have 1 to 256 bytes; the reference takes an empty one for none, and has no bound",
    harmless: false,
    matches: (difference) =>
      statuses(difference, /^400$/, /^(?:20|409|403)/) &&
      ["Stream-Seq", "Producer-Id"].some(
        (name) => name in difference.operation.headers && !/^.{1,256}$/.test(sent(difference, name).trim()),
      ),
  },
  {
    name: "a duplicate is told where the stream ends",
    section: "5.2.1",
    follows: "both",
    reason:
      "204 for a duplicate carries Stream-Next-Offset as any other success does; the section neither asks for it nor forbids it",
    harmless: true,
    matches: ({ operation, ours, theirs, fact }) =>
      operation.method === "POST" &&
      ours["status"] === "204" &&
      theirs["status"] === "204" &&
      fact === "stream-next-offset" &&
      theirs[fact] === "",
  },
  {
    name: "a missing stream, or a malformed request",
    section: "5",
    follows: "both",
    reason:
      "a request that is wrong in itself and names no stream is refused for either; Coldbrook judges headers and query, then the stream, then the body",
    harmless: true,
    matches: (difference) =>
      statuses(difference, /^4(?:04|10)$/, /^(?:400|409)$/) || statuses(difference, /^(?:400|409|410)$/, /^404$/),
  },
  {
    name: "malformed headers come before conflicts",
    section: "5",
    follows: "both",
    reason: "what a header cannot mean is 400 before the stream is looked at; the reference finds the conflict first",
    harmless: true,
    matches: (difference) => statuses(difference, /^400$/, /^(?:409|410)$/),
  },
];
