/** A soft-deleted stream (protocol section 4.2): its name is taken, and nobody gets anything by it. */
import { describeReply, type Reply, type StreamClient } from "../process/http.ts";
import type { Incarnation } from "./incarnation.ts";

/** Asks everything of a stream that is certainly kept for its forks. @throws Violation, ConnectionLost */
export async function knockTombstone(client: StreamClient, life: Incarnation, root = "/v1/stream"): Promise<void> {
  const { path, config } = life;
  const { contentType } = config;
  const asked: readonly (readonly [what: string, status: number, ask: () => Promise<Reply>])[] = [
    ["GET", 410, async () => client.read(path, { offset: "-1" })],
    ["HEAD", 410, async () => client.head(path)],
    ["POST", 410, async () => client.append(path, config.kind === "json" ? "1" : "x", { contentType })],
    ["DELETE", 410, async () => client.del(path)],
    ["PUT", 409, async () => client.create(path, { contentType })],
    ["fork", 409, async () => client.create(`${path}.none`, { headers: { "stream-forked-from": `${root}/${path}` } })],
  ];
  for (const [what, status, ask] of asked) {
    const reply = await ask();
    if (reply.status !== status) {
      life.fail(`soft-deleted, so ${what} must be answered ${status}: ${describeReply(reply)}`);
    }
  }
}
