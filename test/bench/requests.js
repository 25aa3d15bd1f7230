// @ts-check
/** The request bytes that the generator sends: plain HTTP/1.1 with no header that a case does not need. */

/**
 * @param {string} root stream root, e.g. `/v1/stream`
 * @param {string} group
 * @param {number} index
 * @returns {string}
 */
export function streamPath(root, group, index) {
  return `${root}/${group}/${String(index).padStart(7, "0")}`;
}

/**
 * A request head up to and with its empty line.
 * @param {string} method
 * @param {string} path
 * @param {{contentType: string, bytes: number} | null} body
 * @param {string} host
 * @returns {string}
 */
export function requestHead(method, path, body, host) {
  const start = `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n`;
  if (body === null) return `${start}\r\n`;
  return `${start}Content-Type: ${body.contentType}\r\nContent-Length: ${body.bytes}\r\n\r\n`;
}

/**
 * One append to each of `count` streams, in an order that has no locality but is the same in every run.
 * @param {{root: string, group: string, count: number, body: string, contentType: string, host: string}} spec `body` is ASCII
 * @returns {Buffer[]}
 */
export function prepareAppends({ root, group, count, body, contentType, host }) {
  const about = { contentType, bytes: body.length };
  /** @type {Buffer[]} */
  const requests = Array.from({ length: count }, (_, index) =>
    Buffer.from(requestHead("POST", streamPath(root, group, index), about, host) + body, "latin1"),
  );
  let seed = 1;
  for (let last = count - 1; last > 0; last -= 1) {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    const other = seed % (last + 1);
    [requests[last], requests[other]] = [
      /** @type {Buffer} */ (requests[other]),
      /** @type {Buffer} */ (requests[last]),
    ];
  }
  return requests;
}
