import { stream } from "@durable-streams/client";
import { YjsProvider } from "@durable-streams/y-durable-streams";
import { YjsServer } from "@durable-streams/y-durable-streams/server";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";
import { until, within } from "../process/until.ts";
import { Backend, CROSS_TIERS } from "./backend.ts";

const BOUND_MS = 30_000;
/** Small, so that a few edits are compacted. */
const COMPACTION_BYTES = 2_000;
const SERVICE = "notes";

let said: string[] = [];
beforeEach(() => {
  said = [];
  for (const level of ["log", "warn", "error"] as const)
    vi.spyOn(console, level).mockImplementation((...parts: unknown[]) => void said.push(parts.join(" ")));
});
afterEach(() => vi.restoreAllMocks());

function compactions(): number {
  return said.filter((line) => line.startsWith("[Compactor] Compacted")).length;
}

function complaints(): string[] {
  return said.filter((line) => /error|fail|invalid/i.test(line));
}

/** The package's own server before a Coldbrook process. */
class Service implements AsyncDisposable {
  readonly backend: Backend;
  #server: YjsServer;

  private constructor(backend: Backend, server: YjsServer) {
    this.backend = backend;
    this.#server = server;
  }

  static async start(args?: readonly string[]): Promise<Service> {
    const backend = await Backend.start(args);
    const server = new YjsServer({ dsServerUrl: backend.url, compactionThreshold: COMPACTION_BYTES });
    await server.start();
    return new Service(backend, server);
  }

  get url(): string {
    return `${this.#server.url}/v1/yjs/${SERVICE}`;
  }

  /** A new process of the package's server, which knows nothing but what lies in streams. */
  async restart(): Promise<void> {
    await this.#server.stop();
    this.#server = new YjsServer({ dsServerUrl: this.backend.url, compactionThreshold: COMPACTION_BYTES });
    await this.#server.start();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.stop();
    await this.backend[Symbol.asyncDispose]();
  }
}

/** One participant: a document, its provider, and the text they share. */
class Participant implements AsyncDisposable {
  readonly doc: Y.Doc = new Y.Doc();
  readonly awareness: Awareness = new Awareness(this.doc);
  readonly provider: YjsProvider;

  constructor(service: Service, docId: string, liveMode: "sse" | "long-poll") {
    const { doc, awareness } = this;
    this.provider = new YjsProvider({ doc, awareness, baseUrl: service.url, docId, liveMode, connect: false });
  }

  static async join(service: Service, docId: string, liveMode: "sse" | "long-poll"): Promise<Participant> {
    const participant = new Participant(service, docId, liveMode);
    await within("the provider's connection", BOUND_MS, participant.provider.connect());
    await until("the document is synced", BOUND_MS, () => (participant.provider.synced ? true : undefined));
    return participant;
  }

  get text(): string {
    return this.doc.getText("body").toString();
  }

  async write(text: string): Promise<void> {
    const body = this.doc.getText("body");
    body.insert(body.length, text);
    await within("the update's way to the server", BOUND_MS, this.provider.flush());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.provider.disconnect();
    this.provider.destroy();
    this.awareness.destroy();
    this.doc.destroy();
  }
}

async function untilEqual(what: string, ...participants: readonly Participant[]): Promise<string> {
  const [first] = participants;
  if (first === undefined) throw new Error("nobody takes part");
  await until(what, BOUND_MS, () => (participants.every((one) => one.text === first.text) ? true : undefined));
  const states = participants.map((one) => Buffer.from(Y.encodeStateAsUpdate(one.doc)).toString("hex"));
  expect(new Set(states).size, what).toBe(1);
  return first.text;
}

async function untilText(what: string, participant: Participant, text: string): Promise<void> {
  await until(what, BOUND_MS, () => (participant.text === text ? true : undefined));
}

test.each([
  { liveMode: "sse", tiers: "one tier", args: [] },
  { liveMode: "long-poll", tiers: "one tier", args: [] },
  { liveMode: "sse", tiers: "two tiers", args: CROSS_TIERS },
] as const)(
  "two documents stay the same across compactions and a kill of Coldbrook, with $liveMode on $tiers",
  { timeout: 180_000 },
  async ({ liveMode, args }) => {
    await using service = await Service.start(args);
    const docId = `team/page-${liveMode}`;
    let expected = "";
    {
      await using ada = await Participant.join(service, docId, liveMode);
      await using bob = await Participant.join(service, docId, liveMode);
      for (let round = 0; round < 30; round += 1) {
        const writer = round % 2 === 0 ? ada : bob;
        const line = `${round}: ${"a line of text that fills the log. ".repeat(6)}\n`;
        expected += line;
        await writer.write(line);
        await untilText("the other's line", writer === ada ? bob : ada, expected);
      }
      await until("two compactions", BOUND_MS, () => (compactions() >= 2 ? true : undefined));
      expect(await untilEqual("both before the crash", ada, bob)).toBe(expected);
    }

    // Somebody new gets the snapshot and what came after it, and nothing less.
    {
      await using late = await Participant.join(service, docId, liveMode);
      await untilText("the snapshot and the updates after it", late, expected);
    }

    expect(complaints()).toEqual([]);
    await service.backend.crash();
    await service.restart();
    said = [];

    await using cy = await Participant.join(service, docId, liveMode);
    await using dan = await Participant.join(service, docId, liveMode);
    await untilText("the snapshot after the crash", cy, expected);
    for (let round = 0; round < 30; round += 1) {
      const line = `after ${round}: ${"more text that fills the log again. ".repeat(6)}\n`;
      expected += line;
      await (round % 2 === 0 ? dan : cy).write(line);
      await untilText("the line after the crash", round % 2 === 0 ? cy : dan, expected);
    }
    await until("a compaction after the crash", BOUND_MS, () => (compactions() >= 1 ? true : undefined));
    expect(await untilEqual("both after the crash", cy, dan)).toBe(expected);
    await using last = await Participant.join(service, docId, liveMode);
    expect(await untilEqual("a last one who joins", last, cy, dan)).toBe(expected);

    const index = await stream<{ snapshotOffset: string }>({
      url: service.backend.streamUrl(`yjs/${SERVICE}/docs/${docId}/.index`),
      live: false,
      json: true,
    });
    expect((await index.json()).length).toBeGreaterThan(2);
    expect(complaints()).toEqual([]);
  },
);

test("long-polling participants go on through a kill of Coldbrook without a new connection", async () => {
  await using service = await Service.start();
  await using ada = await Participant.join(service, "steady", "long-poll");
  await using bob = await Participant.join(service, "steady", "long-poll");
  await ada.write("before the crash\n");
  await untilText("the line before the crash", bob, "before the crash\n");
  await service.backend.crash();
  await ada.write("after the crash\n");
  await untilText("the line after the crash", bob, "before the crash\nafter the crash\n");
  await bob.write("and back\n");
  await untilText("the answer", ada, "before the crash\nafter the crash\nand back\n");
  expect(await untilEqual("both", ada, bob)).toContain("and back");
});

test("edits made at the same time converge, and awareness reaches the other side", async () => {
  await using service = await Service.start();
  await using ada = await Participant.join(service, "meeting", "sse");
  await using bob = await Participant.join(service, "meeting", "sse");
  ada.awareness.setLocalStateField("user", { name: "Ada" });
  await until("Ada's presence at Bob's", BOUND_MS, () => {
    const state = bob.awareness.getStates().get(ada.doc.clientID) as { user?: { name: string } } | undefined;
    return state?.user?.name === "Ada" ? true : undefined;
  });
  await Promise.all(
    Array.from({ length: 40 }, async (_, n) => {
      await Promise.all([ada.write(`a${n} `), bob.write(`b${n} `)]);
    }),
  );
  await until("all words on both sides", BOUND_MS, () =>
    [ada, bob].every((one) => one.text.split(" ").length === 81) ? true : undefined,
  );
  const words = (await untilEqual("both", ada, bob)).trim().split(" ");
  expect(words.toSorted()).toEqual(
    Array.from({ length: 40 }, (_, n) => [`a${n}`, `b${n}`])
      .flat()
      .toSorted(),
  );
});
