// @ts-check
/** What Coldbrook wants to reach, each goal a ratio of two figures of one run or a bound on one of them. */

/** @typedef {import("./figures.js").Figures} Figures */
/** @typedef {import("./settings.js").Settings} Settings */
/** @typedef {{value: number | null, detail?: string, scaled?: boolean}} Measured `value` is null when it was not measured */

/**
 * @typedef {object} JudgedGoal
 * @property {string} id
 * @property {string} measure
 * @property {"at-least" | "at-most"} bound
 * @property {number} goal
 * @property {string} unit empty for ratios
 * @property {number | null} value
 * @property {"pass" | "miss" | "scaled" | "not measured"} verdict `scaled`: measured with less than the goal is about, and not judged
 * @property {string} detail
 */

/**
 * @typedef {object} GoalDefinition
 * @property {string} id
 * @property {string} measure
 * @property {"at-least" | "at-most"} bound
 * @property {number} goal
 * @property {string} [unit]
 * @property {(figures: Figures, settings: Settings) => Measured} from
 */

const OWN = "coldbrook";
const LARGE_SET = 100_000;
const FULL_START_STREAMS = 1_000_000;
const FULL_MINUTES = 10;
const CONNECTIONS = [64, 256];

/** @type {readonly GoalDefinition[]} */
const GOALS = [
  ...CONNECTIONS.map((connections) => ({
    id: `appends-${connections}-bare`,
    measure: `appends/s, ${connections} connections ÷ bare node:http that answers 204`,
    bound: /** @type {const} */ ("at-least"),
    goal: 0.55,
    from: beside(`appends/${connections}/100`, "bare"),
  })),
  ...CONNECTIONS.flatMap((connections) => [
    {
      id: `appends-${connections}-electric-100`,
      measure: `appends/s, ${connections} connections, 100 streams ÷ Electric's Rust server`,
      bound: /** @type {const} */ ("at-least"),
      goal: 0.75,
      from: beside(`appends/${connections}/100`, "electric"),
    },
    {
      id: `appends-${connections}-electric-10000`,
      measure: `appends/s, ${connections} connections, 10,000 streams ÷ Electric's Rust server`,
      bound: /** @type {const} */ ("at-least"),
      goal: 1,
      from: beside(`appends/${connections}/10000`, "electric"),
    },
  ]),
  ...CONNECTIONS.map((connections) => ({
    id: `appends-${connections}-node`,
    measure: `appends/s, ${connections} connections, 100 streams ÷ Node reference server in memory`,
    bound: /** @type {const} */ ("at-least"),
    goal: 1,
    from: beside(`appends/${connections}/100`, "node-memory"),
  })),
  {
    id: "single-writer",
    measure: "single writer, p50 ÷ p50 of a bare write+fdatasync behind node:http",
    bound: "at-most",
    goal: 1.25,
    from: singleWriter,
  },
  ...CONNECTIONS.map((connections) => ({
    id: `many-streams-${connections}`,
    measure: `appends/s, ${connections} connections, 100,000 streams ÷ 100 streams`,
    bound: /** @type {const} */ ("at-least"),
    goal: 0.95,
    /** @type {GoalDefinition["from"]} */
    from: (figures, settings) => manyStreams(figures, settings, connections),
  })),
  {
    id: "json",
    measure: "appends/s of 1 KiB, JSON mode ÷ octet stream",
    bound: "at-least",
    goal: 0.8,
    from: (figures) => ({
      value: figures.ratio({ key: "json/json", server: OWN }, { key: "json/octet", server: OWN }),
    }),
  },
  {
    id: "hot",
    measure: "hot catch-up ÷ bare node:http sending from memory",
    bound: "at-least",
    goal: 0.8,
    from: beside("hot", "bare"),
  },
  {
    id: "cold",
    measure: "cold catch-up from S3 ÷ direct ranged GETs",
    bound: "at-least",
    goal: 0.8,
    from: beside("cold/s3", "bare"),
  },
  ...["fetched", "fetched-cached"].map((name) => ({
    id: `cold-${name}`,
    measure: `cold catch-up, bytes fetched per byte served, ${name === "fetched" ? "cache off" : "default cache, empty"}`,
    bound: /** @type {const} */ ("at-most"),
    goal: 1.05,
    from: own(`cold/${name}`),
  })),
  {
    id: "fan-out",
    measure: "SSE, one append to 1,000 subscribers, last byte ÷ bare loop of res.write",
    bound: "at-most",
    goal: 0.7,
    from: scaledFanOut(beside("fan-out", "bare")),
  },
  {
    id: "fan-out-rss",
    measure: "SSE, resident memory for each subscriber",
    bound: "at-most",
    goal: 4,
    unit: "KiB",
    from: scaledFanOut(own("fan-out/rss")),
  },
  {
    id: "roll-p99",
    measure: "append p99 while rolling ÷ not rolling",
    bound: "at-most",
    goal: 1.5,
    from: (figures) => ({
      value: figures.ratio({ key: "roll/p99", server: "rolling" }, { key: "roll/p99", server: "not rolling" }),
      detail: figures.find("roll/p99", "rolling")?.note ?? "",
      scaled: (figures.find("roll/p99", "rolling")?.warnings.length ?? 0) > 0,
    }),
  },
  {
    id: "start-time",
    measure: "start with 1,000,000 streams, nothing un-rolled",
    bound: "at-most",
    goal: 2000,
    unit: "ms",
    from: scaledStart(own("start/ms")),
  },
  {
    id: "start-rss",
    measure: "its resident memory",
    bound: "at-most",
    goal: 300,
    unit: "MiB",
    from: scaledStart(own("start/rss")),
  },
  {
    id: "memory-slope",
    measure: "resident memory, second half of 10 minutes over 100,000 streams",
    bound: "at-most",
    goal: 1,
    unit: "MiB/min",
    from: (figures, { minutes, streams }) => ({
      ...own("memory/slope")(figures),
      scaled: minutes < FULL_MINUTES || streams < LARGE_SET,
      detail: figures.find("memory/slope", OWN)?.note ?? "",
    }),
  },
];

/** Every goal, measured or not. @param {Figures} figures @param {Settings} settings @returns {JudgedGoal[]} */
export function judgeGoals(figures, settings) {
  return GOALS.map(({ id, measure, bound, goal, unit = "", from }) => {
    const { value, detail = "", scaled = false } = from(figures, settings);
    const reached = value !== null && (bound === "at-least" ? value >= goal : value <= goal);
    /** @type {JudgedGoal["verdict"]} */
    const verdict = value === null ? "not measured" : scaled ? "scaled" : reached ? "pass" : "miss";
    return { id, measure, bound, goal, unit, value, verdict, detail };
  });
}

/** Own ÷ other of one measure. @param {string} key @param {string} other @returns {(figures: Figures) => Measured} */
function beside(key, other) {
  return (figures) => ({
    value: figures.ratio({ key, server: OWN }, { key, server: other }),
    detail: figures.find(key, other)?.value === null ? `${other}: ${figures.find(key, other)?.note}` : "",
  });
}

/** @param {string} key @returns {(figures: Figures) => Measured} */
function own(key) {
  return (figures) => ({ value: figures.find(key, OWN)?.value ?? null });
}

/** Held against the faster of the two bare forms. @type {GoalDefinition["from"]} */
function singleWriter(figures) {
  const key = "appends/1/1";
  const mine = figures.find(key, OWN)?.latencyMicros;
  const forms = ["bare, sync each", "bare, sync each, async"].flatMap((server) => {
    const latency = figures.find(key, server)?.latencyMicros;
    return latency === undefined || latency === null ? [] : [{ server, p50: latency.p50 }];
  });
  const [faster] = forms.sort((left, right) => left.p50 - right.p50);
  if (mine === undefined || mine === null || faster === undefined) return { value: null };
  const detail = `${Math.round(mine.p50)} over ${Math.round(faster.p50)} µs (${faster.server})`;
  return { value: mine.p50 / faster.p50, detail };
}

/** The same server and the same rounds; with what Electric's server said to as many streams. @param {Figures} figures @param {Settings} settings @param {number} connections @returns {Measured} */
function manyStreams(figures, { streams }, connections) {
  const key = `appends/${connections}/${streams}`;
  const electric = figures.find(key, "electric");
  return {
    value: figures.ratio({ key, server: OWN }, { key, server: `${OWN}, 100 streams` }),
    scaled: streams < LARGE_SET,
    detail: electric === undefined ? "" : `Electric: ${electric.note || "took them"}`,
  };
}

/** @param {(figures: Figures) => Measured} from @returns {GoalDefinition["from"]} */
function scaledFanOut(from) {
  return (figures, { subscribers }) => ({ ...from(figures), scaled: subscribers < 1000 });
}

/** @param {(figures: Figures) => Measured} from @returns {GoalDefinition["from"]} */
function scaledStart(from) {
  return (figures, { startStreams }) => ({
    ...from(figures),
    scaled: startStreams < FULL_START_STREAMS,
    detail: startStreams < FULL_START_STREAMS ? `with ${startStreams.toLocaleString("en-US")} streams` : "",
  });
}
