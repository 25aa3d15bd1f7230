// @ts-check
/** Throughput over connections as a standalone SVG: one line for each server, connections on a logarithmic axis. */

const WIDTH = 860;
const HEIGHT = 500;
const PLOT = { left: 78, right: 630, top: 56, bottom: 440 };
/** Told apart by people who see colours differently, and readable on a light and on a dark ground. */
const COLOURS = ["#0072b2", "#7f7f7f", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8c564b"];
const FONT = `font-family="system-ui, sans-serif"`;

/** @typedef {{name: string, points: {connections: number, value: number}[]}} Line */

/**
 * The lines of one set of streams. A server without a value at some number of connections has no point there.
 * @param {import("./figures.js").Figures} figures
 * @param {number} streams
 * @returns {Line[]}
 */
export function throughputLines(figures, streams) {
  /** @type {Map<string, Line>} */
  const lines = new Map();
  for (const { key, server, value } of figures.list) {
    const [, connections, set] = /^appends\/(\d+)\/(\d+)$/.exec(key) ?? [];
    if (connections === undefined || Number(set) !== streams || value === null || server.includes("sync each"))
      continue;
    const line = lines.get(server) ?? { name: server, points: [] };
    lines.set(server, line);
    line.points.push({ connections: Number(connections), value });
  }
  return [...lines.values()].map(({ name, points }) => ({
    name,
    points: points.sort((left, right) => left.connections - right.connections),
  }));
}

/**
 * @param {readonly Line[]} lines
 * @param {{title: string, subtitle: string}} text
 * @returns {string} an SVG document
 */
export function drawChart(lines, { title, subtitle }) {
  const all = lines.flatMap(({ points }) => points);
  const ticks = [...new Set(all.map(({ connections }) => connections))].sort((left, right) => left - right);
  const step = niceStep(Math.max(1, ...all.map(({ value }) => value)) / 5);
  const top = step * Math.ceil(Math.max(1, ...all.map(({ value }) => value)) / step);
  const lowest = Math.log2(ticks[0] ?? 1);
  const span = Math.log2(ticks.at(-1) ?? 2) - lowest || 1;
  /** @param {number} connections */
  const x = (connections) => round(PLOT.left + ((Math.log2(connections) - lowest) / span) * (PLOT.right - PLOT.left));
  /** @param {number} value */
  const y = (value) => round(PLOT.bottom - (value / top) * (PLOT.bottom - PLOT.top));

  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escape(title)}">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    text(PLOT.left, 24, title, `font-size="16" font-weight="600"`),
    text(PLOT.left, 42, subtitle, `font-size="11" fill="#555"`),
  ];
  for (let value = 0; value <= top; value += step) {
    parts.push(
      `<line x1="${PLOT.left}" x2="${PLOT.right}" y1="${y(value)}" y2="${y(value)}" stroke="#ddd"/>`,
      text(PLOT.left - 8, y(value) + 4, value.toLocaleString("en-US"), `font-size="11" text-anchor="end"`),
    );
  }
  for (const tick of ticks)
    parts.push(text(x(tick), PLOT.bottom + 18, String(tick), `font-size="11" text-anchor="middle"`));
  parts.push(
    text((PLOT.left + PLOT.right) / 2, PLOT.bottom + 40, "connections", `font-size="12" text-anchor="middle"`),
    text(PLOT.left - 8, PLOT.top - 8, "appends/s", `font-size="11" text-anchor="end"`),
  );
  for (const [index, { name, points }] of lines.entries()) {
    const colour = COLOURS[index % COLOURS.length] ?? "#000";
    const path = points.map(({ connections, value }) => `${x(connections)},${y(value)}`).join(" ");
    const dash = name.startsWith("bare") ? ` stroke-dasharray="5 4"` : "";
    parts.push(`<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="2"${dash}/>`);
    for (const { connections, value } of points) {
      const tip = `<title>${escape(name)}, ${connections}: ${Math.round(value).toLocaleString("en-US")}/s</title>`;
      parts.push(`<circle cx="${x(connections)}" cy="${y(value)}" r="3.5" fill="${colour}">${tip}</circle>`);
    }
    const at = PLOT.top + 12 + index * 22;
    const [from, to] = [PLOT.right + 22, PLOT.right + 46];
    parts.push(
      `<line x1="${from}" x2="${to}" y1="${at}" y2="${at}" stroke="${colour}" stroke-width="2"${dash}/>`,
      text(PLOT.right + 54, at + 4, name, `font-size="12"`),
    );
  }
  return `${parts.join("\n")}\n</svg>\n`;
}

/** The next of 1, 2, 5, 10, 20, … @param {number} atLeast @returns {number} */
function niceStep(atLeast) {
  const power = 10 ** Math.floor(Math.log10(atLeast));
  const factor = [1, 2, 5, 10].find((some) => some * power >= atLeast) ?? 10;
  return factor * power;
}

/** @param {number} x @param {number} y @param {string} content @param {string} attributes */
function text(x, y, content, attributes) {
  return `<text x="${x}" y="${y}" ${FONT} ${attributes}>${escape(content)}</text>`;
}

/** @param {string} content */
function escape(content) {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}
