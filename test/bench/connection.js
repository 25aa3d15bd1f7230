// @ts-check
/**
 * A raw client socket of the load generator. All connections read into one shared buffer, which is safe because a read
 * is handled before the next one starts.
 */
import { connect } from "node:net";
import { connect as connectSecure } from "node:tls";

const READ_BUFFER = Buffer.allocUnsafeSlow(512 * 1024);
const CONNECT_TIMEOUT_MS = 10_000;

/**
 * @typedef {object} Address
 * @property {string} host
 * @property {number} port
 * @property {boolean} [secure] TLS
 */

/** What a Host header says. @param {Address} address @returns {string} */
export function hostOf({ host, port, secure = false }) {
  return host === "127.0.0.1" || port === (secure ? 443 : 80) ? host : `${host}:${port}`;
}

/**
 * Opens a connection without delay of small writes. `onBytes` gets the shared buffer, valid only during the call.
 * `onEnd` is called once, with the error or null, when the connection is gone for whatever reason.
 * @param {Address} address
 * @param {(buffer: Buffer, length: number) => void} onBytes
 * @param {(error: Error | null) => void} onEnd
 * @returns {Promise<import("node:net").Socket>}
 */
export function openConnection(address, onBytes, onEnd) {
  return new Promise((resolve, reject) => {
    /** @type {Error | null} */
    let failure = null;
    let connected = false;
    /** @param {number} length @param {Uint8Array} buffer @returns {boolean} */
    const take = (length, buffer) => {
      try {
        onBytes(/** @type {Buffer} */ (buffer), length);
      } catch (error) {
        socket.destroy(error instanceof Error ? error : new Error(String(error)));
      }
      return true;
    };
    const { host, port } = address;
    const socket =
      address.secure === true
        ? connectSecure({ host, port, servername: host }).setNoDelay(true)
        : connect({ host, port, noDelay: true, onread: { buffer: READ_BUFFER, callback: take } });
    if (address.secure === true) socket.on("data", (/** @type {Buffer} */ part) => take(part.length, part));
    const timer = setTimeout(() => socket.destroy(new Error("no connection within 10 s")), CONNECT_TIMEOUT_MS);
    socket.on(address.secure === true ? "secureConnect" : "connect", () => {
      connected = true;
      clearTimeout(timer);
      resolve(socket);
    });
    socket.on("error", (error) => {
      failure = error;
    });
    socket.on("close", () => {
      clearTimeout(timer);
      if (connected) onEnd(failure);
      else reject(failure ?? new Error("connection refused"));
    });
  });
}

/**
 * Opens `count` connections, 64 at a time, so that a listen queue is never the limit.
 * @template T
 * @param {number} count
 * @param {(index: number) => Promise<T>} open
 * @returns {Promise<T[]>}
 */
export async function openMany(count, open) {
  /** @type {T[]} */
  const opened = [];
  for (let from = 0; from < count; from += 64) {
    const group = Array.from({ length: Math.min(64, count - from) }, (_, index) => open(from + index));
    opened.push(...(await Promise.all(group)));
  }
  return opened;
}
