import { createDurableChatTransport, toDurableStreamResponse } from "@durable-streams/aisdk-transport";
import { DurableStream } from "@durable-streams/client";
import { readUIMessageStream, streamText, type UIMessage, type UIMessageChunk } from "ai";
import { MockLanguageModelV3 } from "ai/test";
import { afterAll, beforeAll, expect, test } from "vitest";
import { within } from "../process/until.ts";
import { Backend } from "./backend.ts";
import { Gate } from "./gate.ts";

const BOUND_MS = 30_000;
const WORDS = Array.from({ length: 40 }, (_, n) => `word${n} `);
const TEXT = WORDS.join("");
const HALF = WORDS.slice(0, 20).join("");

let backend: Backend;
beforeAll(async () => {
  backend = await Backend.start();
});
afterAll(async () => {
  await backend[Symbol.asyncDispose]();
});

type ModelStream = Awaited<ReturnType<MockLanguageModelV3["doStream"]>>["stream"];
type ModelPart = ModelStream extends ReadableStream<infer Part> ? Part : never;

/** A made-up model: it says one half, waits at the gate, and says the other. */
function modelWaitingAt(gate: Gate): MockLanguageModelV3 {
  async function* parts(): AsyncGenerator<ModelPart> {
    yield { type: "stream-start", warnings: [] };
    yield { type: "text-start", id: "t" };
    for (const [n, delta] of WORDS.entries()) {
      if (n === 20) await gate.opened;
      yield { type: "text-delta", id: "t", delta };
    }
    yield { type: "text-end", id: "t" };
    yield {
      type: "finish",
      finishReason: { unified: "stop", raw: "stop" },
      usage: {
        inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
        outputTokens: { total: 40, text: 40, reasoning: 0 },
      },
    };
  }
  return new MockLanguageModelV3({ doStream: async () => ({ stream: ReadableStream.from(parts()) }) });
}

interface ChatServer {
  readonly fetch: typeof fetch;
  /** The background writes that a worker runtime would be kept alive for. */
  readonly writes: Promise<unknown>[];
}

/** A chat's two routes: POST starts an answer, GET names the stream of the one under way. */
function chatServer(model: MockLanguageModelV3, stream: string): ChatServer {
  const writes: Promise<unknown>[] = [];
  let started = false;
  const answer: typeof fetch = async (_, init) => {
    if (init?.method === "GET")
      return started ? Response.json({ streamUrl: stream }) : new Response(null, { status: 204 });
    started = true;
    const { messages } = JSON.parse(String(init?.body)) as { messages: UIMessage[] };
    const prompt = messages.flatMap((message) => message.parts.map((part) => (part.type === "text" ? part.text : "")));
    const result = streamText({ model, prompt: prompt.join("\n") });
    return toDurableStreamResponse({
      source: result.toUIMessageStream(),
      stream: { writeUrl: stream },
      waitUntil: (write) => void writes.push(write),
    });
  };
  return { fetch: answer, writes };
}

function transportTo(server: ChatServer) {
  return createDurableChatTransport({ api: "http://chat.invalid/api/chat", fetchClient: server.fetch });
}

const QUESTION: UIMessage = { id: "q", role: "user", parts: [{ type: "text", text: "say words" }] };

function send(server: ChatServer) {
  return transportTo(server).sendMessages({
    trigger: "submit-message",
    chatId: "chat",
    messageId: undefined,
    messages: [QUESTION],
    abortSignal: undefined,
  });
}

function textOf(message: UIMessage | undefined): string {
  return (message?.parts ?? []).map((part) => (part.type === "text" ? part.text : "")).join("");
}

/** Reads to the end, and calls `onText` with what was said so far. */
async function readAnswer(chunks: ReadableStream<UIMessageChunk>, onText?: (text: string) => void): Promise<string> {
  let message: UIMessage | undefined;
  for await (const next of readUIMessageStream({ stream: chunks })) {
    message = next;
    onText?.(textOf(next));
  }
  return textOf(message);
}

test("an answer goes through the stream, and a second consumer that comes half-way gets all of it", async () => {
  const url = backend.streamUrl("chats/resumed");
  const rest = new Gate();
  const server = chatServer(modelWaitingAt(rest), url);
  expect(await transportTo(server).reconnectToStream({ chatId: "chat" })).toBeNull();

  const halfSaid = new Gate();
  const first = readAnswer(await send(server), (text) => {
    if (text === HALF) halfSaid.open();
  });
  await within("the first half at the first consumer", BOUND_MS, halfSaid.opened);

  const resumed = await transportTo(server).reconnectToStream({ chatId: "chat" });
  if (resumed === null) throw new Error("there is no answer to resume");
  const halfResumed = new Gate();
  const seen: string[] = [];
  const second = readAnswer(resumed, (text) => {
    seen.push(text);
    if (text === HALF) halfResumed.open();
  });
  await within("the first half at the second consumer", BOUND_MS, halfResumed.opened);
  expect(seen.at(-1)).toBe(HALF);

  rest.open();
  expect(await within("the answer at both", BOUND_MS, Promise.all([first, second]))).toEqual([TEXT, TEXT]);
  await within("the background write", BOUND_MS, Promise.all(server.writes));
  expect(await DurableStream.head({ url })).toMatchObject({ exists: true, streamClosed: true });
});

test("an answer that is complete is read again after the server was killed", async () => {
  const url = backend.streamUrl("chats/kept");
  const rest = new Gate();
  rest.open();
  const server = chatServer(modelWaitingAt(rest), url);
  expect(
    await within(
      "the answer",
      BOUND_MS,
      send(server).then((chunks) => readAnswer(chunks)),
    ),
  ).toBe(TEXT);
  await within("the background write", BOUND_MS, Promise.all(server.writes));
  await backend.crash();
  const again = await transportTo(server).reconnectToStream({ chatId: "chat" });
  if (again === null) throw new Error("there is no answer to resume");
  expect(await within("the answer again", BOUND_MS, readAnswer(again))).toBe(TEXT);
});

test("an awaited answer names the final offset of its closed stream", async () => {
  const url = backend.streamUrl("chats/awaited");
  const response = await toDurableStreamResponse({
    source: ReadableStream.from(WORDS.map((delta) => ({ type: "text-delta", id: "t", delta }))),
    stream: { writeUrl: url },
    mode: "await",
  });
  const { streamUrl, finalOffset } = (await response.json()) as { streamUrl: string; finalOffset: string };
  expect(response.headers.get("location")).toBe(url);
  expect(streamUrl).toBe(url);
  expect(await DurableStream.head({ url })).toMatchObject({ exists: true, streamClosed: true, offset: finalOffset });
});
