// @ts-check
/**
 * A pass-through in front of an S3 endpoint that counts object requests and the body bytes of answered GETs. Requests
 * go on with their own Host, so that their signatures stay valid.
 */
import { createServer, request, Agent } from "node:http";
import { once } from "node:events";

/** @typedef {{url: string, counts: {gets: number, getBytes: number, others: number}, close: () => Promise<void>}} CountingProxy */

/** @param {string} endpoint an http URL @returns {Promise<CountingProxy>} */
export async function startCountingProxy(endpoint) {
  const { hostname, port } = new URL(endpoint);
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const counts = { gets: 0, getBytes: 0, others: 0 };
  const server = createServer((incoming, answer) => {
    const isGet = incoming.method === "GET";
    if (isGet) counts.gets += 1;
    else counts.others += 1;
    const outgoing = request(
      { host: hostname, port, agent, method: incoming.method, path: incoming.url, headers: incoming.headers },
      (response) => {
        answer.writeHead(response.statusCode ?? 502, response.rawHeaders);
        response.on("data", (part) => {
          if (isGet) counts.getBytes += part.length;
        });
        response.pipe(answer);
      },
    );
    outgoing.on("error", () => answer.destroy());
    answer.on("close", () => outgoing.destroy());
    incoming.pipe(outgoing);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = /** @type {import("node:net").AddressInfo} */ (server.address());
  return {
    url: `http://127.0.0.1:${address.port}`,
    counts,
    close: async () => {
      server.close();
      server.closeAllConnections();
      agent.destroy();
      await once(server, "close");
    },
  };
}
