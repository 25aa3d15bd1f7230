// oxlint-disable no-console -- what a reader sees.
import { createColdbrook } from "@coldbrook/server";

const coldbrook = await createColdbrook({ port: 0, dataDir: "./streams", longPollMs: 10_000 });
const stream = `${coldbrook.url}/v1/stream/greetings`;
const headers = { "Content-Type": "text/plain" };

await fetch(stream, { method: "PUT", headers });
await fetch(stream, { method: "POST", headers, body: "Hello, " });
await fetch(stream, { method: "POST", headers, body: "world" });
console.log(await (await fetch(stream)).text());

await coldbrook.close();
