import { DurableStream } from "@durable-streams/client";
import {
  durableStreamConnection,
  materializeSnapshotFromDurableStream,
  toDurableChatSessionResponse,
  toDurableStreamResponse,
} from "@durable-streams/tanstack-ai-transport";
import { afterAll, beforeAll, expect, test } from "vitest";
import { within } from "../process/until.ts";
import { Backend } from "./backend.ts";
import { Gate } from "./gate.ts";

const BOUND_MS = 30_000;
const WORDS = Array.from({ length: 40 }, (_, n) => `word${n} `);

let backend: Backend;
beforeAll(async () => {
  backend = await Backend.start();
});
afterAll(async () => {
  await backend[Symbol.asyncDispose]();
});

/** The package types its chunks as anything; these are the parts that count here. */
interface Chunk {
  readonly type: string;
  readonly messageId?: string;
  readonly delta?: string;
  readonly messages?: readonly Message[];
}
interface Message {
  readonly id: string;
  readonly role: string;
  readonly parts: readonly { readonly type: string; readonly content: string }[];
}

/** A made-up model: it says one half, waits at the gate, and says the other. */
async function* modelWaitingAt(gate: Gate, messageId: string): AsyncGenerator<object> {
  yield { type: "RUN_STARTED", runId: messageId };
  yield { type: "TEXT_MESSAGE_START", messageId, role: "assistant" };
  let content = "";
  for (const [n, delta] of WORDS.entries()) {
    if (n === 20) await gate.opened;
    content += delta;
    yield { type: "TEXT_MESSAGE_CONTENT", messageId, delta, content };
  }
  yield { type: "TEXT_MESSAGE_END", messageId };
  yield { type: "RUN_FINISHED", runId: messageId, finishReason: "stop" };
}

function textOf(messages: readonly Message[]): Record<string, string> {
  return Object.fromEntries(
    messages.map((message) => [message.id, message.parts.map((part) => part.content).join("")]),
  );
}

/** Takes a connection's chunks until `enough` says so. */
async function take(
  chunks: AsyncIterable<unknown>,
  enough: (chunk: Chunk, taken: readonly Chunk[]) => boolean,
): Promise<Chunk[]> {
  const taken: Chunk[] = [];
  for await (const chunk of chunks) {
    taken.push(chunk as Chunk);
    if (enough(chunk as Chunk, taken)) break;
  }
  return taken;
}

function deltas(chunks: readonly Chunk[]): string {
  return chunks.map((chunk) => chunk.delta ?? "").join("");
}

const FINISHED = (chunk: Chunk): boolean => chunk.type === "RUN_FINISHED";

test("a session's answer is resumed half-way by a second connection, by snapshot and by offset", async () => {
  const url = backend.streamUrl("sessions/resumed");
  const rest = new Gate();
  const writes: Promise<unknown>[] = [];
  const handler: typeof fetch = async (_, init) => {
    const { messages } = JSON.parse(String(init?.body)) as { messages: [] };
    return toDurableChatSessionResponse({
      stream: { writeUrl: url },
      newMessages: messages,
      responseStream: modelWaitingAt(rest, "answer"),
      waitUntil: (write) => void writes.push(write),
    });
  };
  await DurableStream.create({ url, contentType: "application/json" });

  const stop = new AbortController();
  const connect = (initialOffset?: string) =>
    durableStreamConnection({
      sendUrl: "http://chat.invalid/api/chat",
      readUrl: url,
      fetchClient: handler,
      ...(initialOffset === undefined ? {} : { initialOffset }),
    });

  const halfSaid = new Gate();
  const firstConnection = connect();
  const subscribed = new Gate();
  const first = take(firstConnection.subscribe(stop.signal), (chunk, taken) => {
    if (chunk.type === "MESSAGES_SNAPSHOT") subscribed.open();
    if (deltas(taken).endsWith("word19 ")) halfSaid.open();
    return FINISHED(chunk);
  });
  await within("the empty snapshot", BOUND_MS, subscribed.opened);
  await firstConnection.send([{ id: "q", role: "user", parts: [{ type: "text", content: "say words" }] }]);
  await within("the first half at the first connection", BOUND_MS, halfSaid.opened);

  const half = await materializeSnapshotFromDurableStream({ readUrl: url });
  expect(textOf(half.messages as Message[])).toEqual({ q: "say words", answer: WORDS.slice(0, 20).join("") });

  const secondReady = new Gate();
  const second = take(connect().subscribe(stop.signal), (chunk) => {
    if (chunk.type === "MESSAGES_SNAPSHOT") secondReady.open();
    return FINISHED(chunk);
  });
  await within("the second connection's snapshot", BOUND_MS, secondReady.opened);
  if (half.offset === undefined) throw new Error("the snapshot has no offset");
  const third = take(connect(half.offset).subscribe(stop.signal), FINISHED);

  rest.open();
  const [all, resumed, rested] = await within("the end at all three", BOUND_MS, Promise.all([first, second, third]));
  await within("the background write", BOUND_MS, Promise.all(writes));
  expect(deltas(all)).toBe(`say words${WORDS.join("")}`);
  expect(textOf(resumed[0]?.messages ?? [])).toEqual({ q: "say words", answer: WORDS.slice(0, 20).join("") });
  expect(deltas(resumed)).toBe(WORDS.slice(20).join(""));
  expect(deltas(rested)).toBe(WORDS.slice(20).join(""));
  stop.abort();

  await backend.crash();
  const whole = await materializeSnapshotFromDurableStream({ readUrl: url });
  expect(textOf(whole.messages as Message[])).toEqual({ q: "say words", answer: WORDS.join("") });
});

test("a response stream is written whole and closed, and a consumer follows it to its end", async () => {
  const url = backend.streamUrl("sessions/response");
  const rest = new Gate();
  const writes: Promise<unknown>[] = [];
  const response = await toDurableStreamResponse(modelWaitingAt(rest, "answer"), {
    stream: { writeUrl: url },
    waitUntil: (write) => void writes.push(write),
  });
  expect(response.status).toBe(201);
  expect(response.headers.get("location")).toBe(url);
  const connection = durableStreamConnection({ sendUrl: url, readUrl: url, emitSnapshotOnSubscribe: false });
  const consumer = take(connection.subscribe(), (_, taken) => {
    if (deltas(taken).endsWith("word19 ")) rest.open();
    return false;
  });
  const chunks = await within("the consumer's end at the close", BOUND_MS, consumer);
  await within("the background write", BOUND_MS, Promise.all(writes));
  expect(deltas(chunks)).toBe(WORDS.join(""));
  expect(chunks.at(-1)?.type).toBe("RUN_FINISHED");
  expect(await DurableStream.head({ url })).toMatchObject({ exists: true, streamClosed: true });
});
