import { DurableStream, stream } from "@durable-streams/client";
import { createStateSchema, MaterializedState, type ChangeEvent, type StateEvent } from "@durable-streams/state";
import { createStreamDB, isChangeEvent, type CollectionDefinition } from "@durable-streams/state/db";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { until, within } from "../process/until.ts";
import { Backend } from "./backend.ts";

const BOUND_MS = 30_000;

interface User {
  readonly id: string;
  readonly name: string;
}
interface Message {
  readonly id: string;
  readonly text: string;
}

/** A Standard Schema that takes every object: what is under test is the stream, not validation. */
function schemaOf<Row>(): CollectionDefinition<Row>["schema"] {
  return { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value: value as Row }) } };
}

const schema = createStateSchema({
  users: { schema: schemaOf<User>(), type: "user", primaryKey: "id" },
  messages: { schema: schemaOf<Message>(), type: "message", primaryKey: "id" },
});

let backend: Backend;
beforeAll(async () => {
  backend = await Backend.start();
});
afterAll(async () => {
  await backend[Symbol.asyncDispose]();
});

function openDb(url: string, live: true | "sse" | "long-poll" = true) {
  const db = createStreamDB({ streamOptions: { url, contentType: "application/json" }, state: schema, live });
  return {
    db,
    names: (): Record<string, string> =>
      Object.fromEntries([...db.collections.users.values()].map((user) => [user.id, user.name])),
    texts: (): Record<string, string> =>
      Object.fromEntries([...db.collections.messages.values()].map((message) => [message.id, message.text])),
    [Symbol.dispose]: () => db.close(),
  };
}

async function append(handle: DurableStream, ...events: readonly ChangeEvent[]): Promise<void> {
  await Promise.all(events.map((event) => handle.append(JSON.stringify(event))));
}

describe("StreamDB", () => {
  test.each([true, "sse", "long-poll"] as const)(
    "sees inserts, updates, upserts and deletes, and the same after the server was killed, with live: %s",
    async (live) => {
      const url = backend.streamUrl(`state/db-${live}`);
      const handle = await DurableStream.create({ url, contentType: "application/json" });
      await append(
        handle,
        schema.users.insert({ value: { id: "1", name: "Ada" } }),
        schema.users.insert({ value: { id: "2", name: "Bob" } }),
        schema.messages.insert({ value: { id: "m1", text: "hello" } }),
      );

      using first = openDb(url, live);
      await within("the first preload", BOUND_MS, first.db.preload());
      expect(first.names()).toEqual({ 1: "Ada", 2: "Bob" });
      expect(first.texts()).toEqual({ m1: "hello" });

      await append(
        handle,
        schema.users.update({ value: { id: "1", name: "Ada Lovelace" } }),
        schema.users.delete({ key: "2", headers: { txid: `before-${live}` } }),
      );
      await within("the update", BOUND_MS, first.db.utils.awaitTxId(`before-${live}`, BOUND_MS));
      expect(first.names()).toEqual({ 1: "Ada Lovelace" });

      const said = vi.spyOn(console, "error").mockImplementation(() => undefined);
      await backend.crash();
      said.mockRestore();

      using second = openDb(url, live);
      await within("the preload after the crash", BOUND_MS, second.db.preload());
      expect(second.names()).toEqual({ 1: "Ada Lovelace" });
      expect(second.texts()).toEqual({ m1: "hello" });

      await append(
        handle,
        schema.users.upsert({ value: { id: "3", name: "Cy" } }),
        schema.users.upsert({ value: { id: "1", name: "A. L." } }),
        schema.messages.delete({ key: "m1", headers: { txid: `after-${live}` } }),
      );
      // An SSE read that is cut off ends this client's session; the others ask again from their offset.
      for (const { db, names, texts } of live === "sse" ? [second] : [first, second]) {
        await within("the changes after the crash", BOUND_MS, db.utils.awaitTxId(`after-${live}`, BOUND_MS));
        expect(names()).toEqual({ 1: "A. L.", 3: "Cy" });
        expect(texts()).toEqual({});
        expect(await handle.head()).toMatchObject({ exists: true, offset: db.offset });
      }
    },
  );

  test("an optimistic action is confirmed by its change coming back through the stream", async () => {
    const url = backend.streamUrl("state/actions");
    await DurableStream.create({ url, contentType: "application/json" });
    const db = createStreamDB({
      streamOptions: { url, contentType: "application/json" },
      state: schema,
      actions: ({ db, stream }) => ({
        addUser: {
          onMutate: (user: User) => void db.collections.users.insert(user),
          mutationFn: async (user: User) => {
            const txid = `add-${user.id}`;
            await stream.append(JSON.stringify(schema.users.insert({ value: user, headers: { txid } })));
            await db.utils.awaitTxId(txid, BOUND_MS);
          },
        },
      }),
    });
    try {
      await within("the preload", BOUND_MS, db.preload());
      const added = db.actions.addUser({ id: "7", name: "Grace" });
      await within("the action's confirmation", BOUND_MS, added.isPersisted.promise);
      expect(db.collections.users.get("7")).toMatchObject({ id: "7", name: "Grace" });
    } finally {
      db.close();
    }
  });

  test("a preload of more changes than one chunk holds sees them all", async () => {
    const url = backend.streamUrl("state/large");
    const handle = await DurableStream.create({ url, contentType: "application/json" });
    const name = "x".repeat(1_000);
    for (let from = 0; from < 3_000; from += 500) {
      const values = Array.from({ length: 500 }, (_, n) => ({ id: `${from + n}`, name }));
      await append(handle, ...values.map((value) => schema.users.insert({ value })));
    }
    using opened = openDb(url);
    await within("the preload", BOUND_MS, opened.db.preload());
    await until("all rows", BOUND_MS, () => (opened.db.collections.users.size === 3_000 ? true : undefined));
  });
});

describe("MaterializedState", () => {
  test("is the same when its stream is replayed after the server was killed", async () => {
    const url = backend.streamUrl("state/materialized");
    const handle = await DurableStream.create({ url, contentType: "application/json" });
    const events: ChangeEvent[] = [];
    for (let n = 0; n < 200; n += 1) {
      const value = { id: `${n % 40}`, name: `name ${n}` };
      if (n % 7 === 6) events.push(schema.users.delete({ key: value.id }));
      else events.push(n < 40 ? schema.users.insert({ value }) : schema.users.upsert({ value }));
    }
    const expected = new MaterializedState();
    expected.applyBatch(events);
    await append(handle, ...events);
    await backend.crash();

    const replayed = new MaterializedState();
    const items = await (await stream<StateEvent>({ url, live: false, json: true })).json();
    replayed.applyBatch(items.filter((event) => isChangeEvent(event)));
    expect(replayed.getType("user")).toEqual(expected.getType("user"));
    expect(replayed.types).toEqual(["user"]);
  });
});
