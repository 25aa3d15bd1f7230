// oxlint-disable no-console -- what a reader sees.
import { DurableStreamTestServer } from "@coldbrook/server";

const server = new DurableStreamTestServer({ port: 0 });
const url = await server.start();

server.store.create("/orders", { contentType: "application/json" });
server.store.append("/orders", new TextEncoder().encode('{"id":1}'));
server.injectFault("/orders", { status: 503, retryAfter: 1, method: "GET" });

const refused = await fetch(`${url}/orders`);
console.log(refused.status, refused.headers.get("Retry-After"));
const served = await fetch(`${url}/orders`);
console.log(served.status, await served.json());

await server.stop();
