// @ts-check
/** Single requests for setting a case up and looking at its outcome; never inside a measured window. */
import { request } from "node:http";
import { request as requestSecure } from "node:https";

const TIMEOUT_MS = 60_000;

/** @typedef {import("./connection.js").Address} Address */

/**
 * @param {Address} address
 * @param {{method: string, path: string, headers?: Record<string, string>, body?: Uint8Array | string}} options
 * @returns {Promise<{status: number, headers: import("node:http").IncomingHttpHeaders, body: Buffer}>}
 */
export function send(address, { method, path, headers = {}, body }) {
  return new Promise((resolve, reject) => {
    const { host, port, secure = false } = address;
    const options = { host, port, method, path, headers, agent: false, timeout: TIMEOUT_MS };
    const sent = (secure ? requestSecure : request)(options, (response) => {
      /** @type {Buffer[]} */
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("error", reject);
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(parts) }),
      );
    });
    sent.on("timeout", () => sent.destroy(new Error(`${method} ${path}: no answer within 60 s`)));
    sent.on("error", reject);
    sent.end(body);
  });
}

/**
 * Like `send`, but any status outside of 2xx is an error.
 * @param {Parameters<typeof send>[0]} address
 * @param {Parameters<typeof send>[1]} options
 * @returns {ReturnType<typeof send>}
 */
export async function sendOk(address, options) {
  const answer = await send(address, options);
  if (answer.status < 200 || answer.status > 299) {
    throw new Error(`${options.method} ${options.path}: ${answer.status} ${answer.body.toString("utf8", 0, 500)}`);
  }
  return answer;
}

/**
 * Creates an octet stream and appends `bytes` to it in messages of `messageBytes`.
 * @param {Address} address
 * @param {{path: string, bytes: number, messageBytes: number}} stream `bytes` is a multiple of `messageBytes`
 */
export async function writeStream(address, { path, bytes, messageBytes }) {
  const headers = { "Content-Type": "application/octet-stream" };
  await sendOk(address, { method: "PUT", path, headers });
  for (let at = 0; at < bytes; at += messageBytes) {
    // Text that does not repeat from message to message, so that mixing two up would show and no layer folds it away.
    const body = Buffer.alloc(messageBytes, `${path} ${at} `);
    await sendOk(address, { method: "POST", path, headers, body });
  }
}
