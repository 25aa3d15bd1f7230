/** Two hundred long-pollers who came at different moments wait for one answer of the origin. */
import { expect, test } from "vitest";
import { patternBytes } from "../scale/served.ts";
import type { CacheName } from "./cache-process.ts";
import { say, type CdnRig } from "./cdn-rig.ts";
import { Follower } from "./follower.ts";

const POLLERS = 200;
/** They come in this many groups, with an append between. */
const GROUPS = 3;
const APPENDS = 5;
const ORIGIN_REQUESTS_MAX = 5;

/** The rig is one whose long-polls last two seconds. */
export function longPollFacts(name: CacheName, opened: () => CdnRig): void {
  test("200 long-pollers cost the origin at most 5 requests for each append, and for each wait that ends without data", async () => {
    const rig = opened();
    const truth = await rig.create("polled");
    await rig.append(truth, patternBytes(100, 0));
    const pollers = Array.from({ length: POLLERS }, (_, index) => {
      return new Follower(
        rig,
        truth,
        index % 3 === 0 ? truth.start : "-1",
        index % 2 === 0 ? "sorted" : "offset-first",
      );
    });
    const running: Promise<void>[] = [];
    const arrived = async (): Promise<void> => {
      const here = pollers.slice(0, running.length);
      const all = Promise.all(here.map((poller) => poller.when(() => poller.position === truth.length)));
      await Promise.race([all, Promise.all(running)]);
    };
    for (let group = 1; group <= GROUPS; group += 1) {
      while (running.length < (group * POLLERS) / GROUPS) running.push(pollers[running.length]!.follow());
      await arrived();
      await rig.append(truth, patternBytes(100, truth.length));
    }
    await arrived();
    // The groups are one from the answer after that on.
    await rig.append(truth, patternBytes(100, truth.length));
    await arrived();

    const counts: number[] = [];
    rig.origin.take();
    for (let count = 0; count < APPENDS; count += 1) {
      await rig.append(truth, patternBytes(100, truth.length));
      await arrived();
      counts.push(rig.origin.take().length);
    }

    // Nothing comes for a while: each wait ends with a 204, which is not one request for each reader either.
    const before = pollers.map((poller) => poller.nothings);
    await Promise.all(pollers.map((poller, index) => poller.when(() => poller.nothings >= before[index]! + 2)));
    const idle = rig.origin.take();
    const waves = idle.filter(({ status }) => status === 204).length;

    await rig.append(truth, patternBytes(100, truth.length));
    await arrived();
    const afterIdle = rig.origin.take().length;
    await rig.close(truth);
    await Promise.all(running);
    const closing = rig.origin.take().length;
    say(
      `${name}: 200 long-pollers: origin requests for each of ${APPENDS} appends ${counts.join(", ")}; ` +
        `for two waits without data ${idle.length}, for the append after that ${afterIdle}, for the close ${closing}`,
    );
    for (const count of [...counts, afterIdle, closing]) expect(count).toBeLessThanOrEqual(ORIGIN_REQUESTS_MAX);
    expect(waves).toBeLessThanOrEqual(3 * ORIGIN_REQUESTS_MAX);
    for (const poller of pollers) expect(poller.position).toBe(truth.length);
  });
}
