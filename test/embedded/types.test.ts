/** Programs written for `@durable-streams/server` compile against ours: this file does not, when the types drift apart. */
import * as coldbrook from "@coldbrook/server";
import type * as Reference from "@durable-streams/server";
import { expect, expectTypeOf, test } from "vitest";

/** A class without its private members, which no other class can have. */
type Public<T> = Pick<T, keyof T>;

/** Asks nothing at run time: that `Given` may be used where `Wanted` is asked for. */
function fits<Wanted>(): { with: <Given extends Wanted>(given?: Given) => void } {
  return { with: () => undefined };
}

test("every export of the reference that is a value is one here, but for its subscriptions' inner classes", async () => {
  const reference: object = await import("@durable-streams/server");
  const inner = new Set(["SubscriptionManager", "SubscriptionRoutes"]);
  const missing = Object.keys(reference).filter((name) => !inner.has(name) && !(name in coldbrook));
  expect(missing).toEqual([]);
});

test("functions are called alike", () => {
  fits<typeof Reference.calculateCursor>().with<typeof coldbrook.calculateCursor>();
  fits<typeof Reference.generateResponseCursor>().with<typeof coldbrook.generateResponseCursor>();
  fits<typeof Reference.handleCursorCollision>().with<typeof coldbrook.handleCursorCollision>();
  fits<typeof Reference.encodeStreamPath>().with<typeof coldbrook.encodeStreamPath>();
  fits<typeof Reference.decodeStreamPath>().with<typeof coldbrook.decodeStreamPath>();
  fits<typeof Reference.globMatch>().with<typeof coldbrook.globMatch>();
  fits<typeof Reference.validateWebhookUrl>().with<typeof coldbrook.validateWebhookUrl>();
  fits<typeof Reference.DEFAULT_CURSOR_EPOCH>().with<typeof coldbrook.DEFAULT_CURSOR_EPOCH>();
  fits<typeof Reference.DEFAULT_CURSOR_INTERVAL_SECONDS>().with<typeof coldbrook.DEFAULT_CURSOR_INTERVAL_SECONDS>();
  expect(coldbrook.DEFAULT_CURSOR_INTERVAL_SECONDS).toBe(20);
});

test("values that are handed out and taken have the same shapes", () => {
  expectTypeOf<coldbrook.Stream>().toEqualTypeOf<Reference.Stream>();
  expectTypeOf<coldbrook.StreamMessage>().toEqualTypeOf<Reference.StreamMessage>();
  expectTypeOf<coldbrook.StreamLifecycleEvent>().toEqualTypeOf<Reference.StreamLifecycleEvent>();
  expectTypeOf<coldbrook.StreamLifecycleHook>().toEqualTypeOf<Reference.StreamLifecycleHook>();
  expectTypeOf<coldbrook.PendingLongPoll>().toEqualTypeOf<Reference.PendingLongPoll>();
  expectTypeOf<coldbrook.CursorOptions>().toEqualTypeOf<Reference.CursorOptions>();
  expectTypeOf<coldbrook.SubscriptionRecord>().toEqualTypeOf<Reference.SubscriptionRecord>();
  expectTypeOf<coldbrook.SubscriptionCreateInput>().toEqualTypeOf<Reference.SubscriptionCreateInput>();
  expectTypeOf<coldbrook.SubscriptionCallbackRequest>().toEqualTypeOf<Reference.SubscriptionCallbackRequest>();
  expectTypeOf<coldbrook.SubscriptionError>().toEqualTypeOf<Reference.SubscriptionError>();
  expectTypeOf<coldbrook.SubscriptionErrorCode>().toEqualTypeOf<Reference.SubscriptionErrorCode>();
  expectTypeOf<coldbrook.SubscriptionStatus>().toEqualTypeOf<Reference.SubscriptionStatus>();
  expectTypeOf<coldbrook.SubscriptionStreamInfo>().toEqualTypeOf<Reference.SubscriptionStreamInfo>();
  expectTypeOf<coldbrook.SubscriptionStreamLink>().toEqualTypeOf<Reference.SubscriptionStreamLink>();
  expectTypeOf<coldbrook.SubscriptionType>().toEqualTypeOf<Reference.SubscriptionType>();
  fits<coldbrook.TestServerOptions>().with<Reference.TestServerOptions>();
});

test("the memory store is the reference's, method for method", () => {
  fits<Public<Reference.StreamStore>>().with<coldbrook.StreamStore>();
});

test("the store in a directory is too, but that it answers later where the disk comes first", () => {
  type Later = "delete" | "closeStream" | "read" | "clear";
  fits<Omit<Public<Reference.FileBackedStreamStore>, Later>>().with<coldbrook.FileBackedStreamStore>();
  type Methods = Pick<coldbrook.FileBackedStreamStore, Exclude<Later, "clear">>;
  type Awaited<T> = {
    [Name in keyof T]: T[Name] extends (...given: infer G) => Promise<infer R> ? (...given: G) => R : never;
  };
  fits<Pick<Reference.FileBackedStreamStore, Exclude<Later, "clear">>>().with<Awaited<Methods>>();
  fits<ConstructorParameters<typeof coldbrook.FileBackedStreamStore>>().with<
    ConstructorParameters<typeof Reference.FileBackedStreamStore>
  >();
});

test("the server has all of the reference's members", () => {
  fits<Omit<Public<Reference.DurableStreamTestServer>, "store">>().with<coldbrook.DurableStreamTestServer>();
  fits<ConstructorParameters<typeof coldbrook.DurableStreamTestServer>>().with<
    ConstructorParameters<typeof Reference.DurableStreamTestServer>
  >();
});

test("the server's store has the type of what the options ask for", () => {
  const inMemory = new coldbrook.DurableStreamTestServer({ port: 0 });
  expectTypeOf(inMemory.store).toEqualTypeOf<coldbrook.StreamStore>();
  const made = new coldbrook.DurableStreamTestServer({ store: new coldbrook.StreamStore() });
  expectTypeOf(made.store).toEqualTypeOf<coldbrook.StreamStore>();
  const inDirectory = (): coldbrook.DurableStreamTestServer<coldbrook.FileBackedStreamStore> =>
    new coldbrook.DurableStreamTestServer({ dataDir: "streams" });
  expectTypeOf(inDirectory).returns.toHaveProperty("store");
  class Special extends coldbrook.DurableStreamTestServer {}
  expect(new Special().store).toBeInstanceOf(coldbrook.StreamStore);
  // A variable that is declared first may hold either.
  const either: coldbrook.DurableStreamTestServer = inMemory;
  expectTypeOf(either.store).toEqualTypeOf<coldbrook.StreamStore | coldbrook.FileBackedStreamStore>();
});
