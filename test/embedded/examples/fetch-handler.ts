// oxlint-disable no-console -- what a reader sees.
import { createColdbrook, createFetchHandler } from "@coldbrook/server";

const coldbrook = await createColdbrook({}, { storage: "memory", listen: false });
const streams = createFetchHandler(coldbrook);

// What a framework calls with each request: Hono, Next.js route handlers, Bun.serve and Deno.serve all take this shape.
const app = async (request: Request): Promise<Response> => {
  const { pathname } = new URL(request.url);
  return pathname.startsWith("/v1/stream/") ? streams(request) : new Response("Not a stream", { status: 404 });
};

const url = "https://app.example/v1/stream/greetings";
await app(new Request(url, { method: "PUT", headers: { "Content-Type": "text/plain" }, body: "Hello" }));
const response = await app(new Request(`${url}?offset=-1`));
console.log(response.status, await response.text());

await coldbrook.close();
