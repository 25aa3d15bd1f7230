// @ts-check
/** Request bodies, as latin1 text of their bytes: valid JSON, nearly JSON, text, and bytes that are none. */
import { IDENTIFIERS, NAMES, PATTERNS, utf8 } from "./values.js";

/** @typedef {import("./random.js").Random} Random */

const JSON_BODIES = [
  "1",
  "[]",
  "[1,2,3]",
  '{"a":1}',
  '"x"',
  "null",
  "true",
  "[[1],[2]]",
  "[[]]",
  '{"__proto__":{"polluted":true}}',
  " [ 1 , 2 ] ",
  "9007199254740993",
  "1e400",
  "-0",
  "1.0",
  '{"a":1,"a":2}',
  '"\\u0000"',
  '"\\ud800"',
  utf8('"𝄞é"'),
  `"${"x".repeat(2e3)}"`,
  '{"constructor":1}',
  "[null]",
  '["a",{"b":["c"]}]',
  `[${"1,".repeat(300)}1]`,
];

const BROKEN_JSON = [
  "{",
  "[",
  "]",
  "}",
  "[1,]",
  "[,1]",
  "{a:1}",
  "{'a':1}",
  '{"a"}',
  '{"a":}',
  "01",
  "1.",
  ".5",
  "+1",
  "1e",
  "-",
  "NaN",
  "Infinity",
  "undefined",
  "tru",
  "nul",
  '"',
  '"\\',
  '"\\x"',
  '"\\u12"',
  '"\n"',
  '"	"',
  '"\0"',
  "[1] [2]",
  "{}{}",
  "1 2",
  "[1 2]",
  '{"a":1,}',
  "",
  " ",
  "\n",
  "ï»¿1",
  "ÿ",
  "À¯",
  '"í\xA0"',
  '"ô"',
  "\xA01",
  "/*x*/1",
  "1//",
  "[1]]",
  "\0",
  "[".repeat(5e3),
  "[1\0]",
];

/** @param {Random} random */
export function jsonBody(random) {
  return random.chance(0.5) ? random.pick(JSON_BODIES) : random.pick(BROKEN_JSON);
}

/** @param {Random} random */
export function brokenJson(random) {
  return random.pick(BROKEN_JSON);
}

/** @param {Random} random @returns {string} */
export function anyBody(random) {
  switch (random.weighted({ json: 4, broken: 3, text: 4, bytes: 2, long: 0.15, http: 0.5, none: 2 })) {
    case "json":
      return random.pick(JSON_BODIES);
    case "broken":
      return random.pick(BROKEN_JSON);
    case "text":
      return random.pick([
        "hello",
        " leading",
        "line\nline\r\nline",
        "data: x\n\n",
        "\0\0\0",
        utf8("naïve"),
        "event: control\ndata: {}\n\n",
      ]);
    case "bytes":
      return Array.from({ length: random.below(64) + 1 }, () => String.fromCharCode(random.below(256))).join("");
    case "long":
      return "0123456789abcdef".repeat(random.pick([64, 256, 1024, 4096]));
    case "http":
      return `GET /v1/stream/${random.pick(NAMES)} HTTP/1.1\r\nHost: x\r\n\r\n`;
    case "none":
      return "";
  }
}

/** A body for a control route (protocol sections 6 and 7). @param {Random} random @returns {string} */
export function controlBody(random) {
  if (random.chance(0.2)) return anyBody(random);
  /** @type {Record<string, unknown>} */
  const body = {};
  const put = (/** @type {string} */ key, /** @type {() => unknown} */ make, share = 0.4) => {
    if (random.chance(share)) body[key] = random.chance(0.15) ? strange(random) : make();
  };
  put("type", () => random.pick(["pull-wake", "webhook", "pull-wake", "none"]), 0.8);
  put("pattern", () => random.pick(PATTERNS));
  put("streams", () => Array.from({ length: random.below(4) }, () => ({ path: random.pick(NAMES) })));
  put("wake_stream", () => random.pick(NAMES), 0.6);
  put("webhook", () => ({
    url: random.pick([
      "https://hook.invalid/x",
      "http://10.0.0.1/",
      "http://[::1]/",
      "file:///etc/passwd",
      "https://",
      "x",
    ]),
  }));
  put("lease_ttl_ms", () => random.pick([1000, 600_000, 0, -1, 1.5, 1e300, "30000", 30_000]));
  put("description", () => random.pick(IDENTIFIERS), 0.2);
  put("worker", () => random.pick(IDENTIFIERS));
  put("wake_id", () => random.pick(["w", "", "w_1", "__proto__"]));
  put("generation", () => random.pick([0, 1, 2, -1, 1.5, 2 ** 53, "1"]));
  put("acks", () => [
    {
      stream: random.pick(NAMES),
      path: random.pick(NAMES),
      offset: random.pick(["-1", "x", "0000000000000001_0000000000000001"]),
    },
  ]);
  put("done", () => random.chance(0.5));
  if (random.chance(0.03)) return `{"__proto__":${JSON.stringify(body)}}`;
  return utf8(JSON.stringify(body));
}

/** A value of a type that nobody asked for. @param {Random} random @returns {unknown} */
function strange(random) {
  return random.pick([
    null,
    true,
    0,
    -1,
    1e308,
    "",
    "x",
    [],
    {},
    [[]],
    [null],
    { path: null },
    "\u0000",
    "x".repeat(5000),
    Array.from({ length: 1200 }, () => "a"),
  ]);
}
