/** `sub …`: subscriptions that wake workers, by plain requests (protocol 6 and 7). */
import type { CommandContext, CommandSpec, OptionSpec, OptionValues } from "./command-spec.ts";
import { Failure } from "./failure.ts";
import { parseLease, readLease } from "./lease.ts";
import type { Lease } from "./lease.ts";
import { streamName, subscriptionUrl } from "./stream-url.ts";

const LEASE_OPTIONS: readonly OptionSpec[] = [
  { flags: "--claim <file>", meaning: "what sub claim printed; - is standard input", file: true },
  { flags: "--token <token>", meaning: "the claim's token, instead of --claim" },
  { flags: "--wake-id <id>", meaning: "the claim's wake_id, instead of --claim" },
  { flags: "--generation <number>", meaning: "the claim's generation, instead of --claim" },
];

const CREATE: CommandSpec = {
  name: "sub create",
  summary: "create a subscription, or confirm that it is there as described",
  operands: ["<id>"],
  options: [
    { flags: "--pattern <glob>", meaning: "streams by name: * is one part of a path, ** any number" },
    { flags: "--stream <path>", meaning: "one stream by name; may be repeated", repeatable: true },
    { flags: "--webhook <url>", meaning: "wake by a request to this URL" },
    { flags: "--wake-stream <path>", meaning: "wake by an event in this stream, which must be there" },
    { flags: "--lease-ttl-ms <number>", meaning: "how long a worker has between two acks (30000)" },
    { flags: "--description <text>", meaning: "for people" },
  ],
  example: "sub create workers --pattern 'jobs/*' --wake-stream wake-pool",
  async run(context, [id], options) {
    const pattern = options.text("pattern");
    const streams = options.list("stream").map(streamName);
    const webhook = options.text("webhook");
    const wakeStream = options.text("wakeStream");
    if (pattern === undefined && streams.length === 0)
      throw new Failure("usage", "give --pattern or --stream, or both");
    if ((webhook === undefined) === (wakeStream === undefined))
      throw new Failure("usage", "give one of --webhook and --wake-stream");
    await ask(context, "PUT", subscriptionUrl(context.connection.baseUrl, id!), {
      type: webhook === undefined ? "pull-wake" : "webhook",
      pattern,
      streams: streams.length === 0 ? undefined : streams,
      webhook: webhook === undefined ? undefined : { url: webhook },
      wake_stream: wakeStream === undefined ? undefined : streamName(wakeStream),
      lease_ttl_ms: options.count("leaseTtlMs"),
      description: options.text("description"),
    });
    const isNew = context.connection.lastAnswer?.status === 201;
    await context.terminal.say(
      isNew ? `Subscription created: "${id}"` : `Subscription exists already, as asked for: "${id}"`,
    );
  },
};

const GET: CommandSpec = {
  name: "sub get",
  summary: "print a subscription as JSON",
  operands: ["<id>"],
  options: [],
  example: "sub get workers",
  async run(context, [id]) {
    await printAnswer(context, await ask(context, "GET", subscriptionUrl(context.connection.baseUrl, id!)));
  },
};

const DELETE: CommandSpec = {
  name: "sub delete",
  summary: "delete a subscription",
  operands: ["<id>"],
  options: [],
  example: "sub delete workers",
  async run(context, [id]) {
    await ask(context, "DELETE", subscriptionUrl(context.connection.baseUrl, id!));
    await context.terminal.say(`Subscription deleted: "${id}"`);
  },
};

const CLAIM: CommandSpec = {
  name: "sub claim",
  summary: "claim the pending work of a pull-wake subscription and print the claim as JSON",
  operands: ["<id>"],
  options: [{ flags: "--worker <name>", meaning: "who claims it, for others to see" }],
  example: "sub claim workers --worker worker-1 > claim.json",
  notes: "The claim holds a token: whoever has it can acknowledge the work.",
  async run(context, [id], options) {
    const worker = options.text("worker");
    if (worker === undefined)
      throw new Failure("usage", "--worker is missing: the name others see when they come too late");
    await printAnswer(
      context,
      await ask(context, "POST", subscriptionUrl(context.connection.baseUrl, id!, "claim"), { worker }),
    );
  },
};

const ACK: CommandSpec = {
  name: "sub ack",
  summary: "acknowledge what is done of a claim, and keep it or end it",
  operands: ["<id>"],
  options: [
    ...LEASE_OPTIONS,
    {
      flags: "--ack <stream=offset>",
      meaning: "the stream is done up to this offset; may be repeated",
      repeatable: true,
    },
    { flags: "--all", meaning: "every stream of --claim is done up to the tail it had" },
    { flags: "--done", meaning: "end the claim; without it the claim is prolonged" },
  ],
  example: "sub ack workers --claim claim.json --all --done",
  async run(context, [id], options) {
    const lease = await leaseOf(context, options);
    const acks = options.list("ack").map(parseAck);
    if (options.flag("all")) acks.push(...lease.tails);
    const body = {
      wake_id: lease.wakeId,
      generation: lease.generation,
      acks,
      ...(options.flag("done") ? { done: true } : {}),
    };
    const url = subscriptionUrl(context.connection.baseUrl, id!, "ack");
    await printAnswer(context, await ask(context, "POST", url, body, lease.token));
  },
};

const RELEASE: CommandSpec = {
  name: "sub release",
  summary: "give a claim back without acknowledging anything",
  operands: ["<id>"],
  options: LEASE_OPTIONS,
  example: "sub release workers --claim claim.json",
  async run(context, [id], options) {
    const lease = await leaseOf(context, options);
    const url = subscriptionUrl(context.connection.baseUrl, id!, "release");
    await ask(context, "POST", url, { wake_id: lease.wakeId, generation: lease.generation }, lease.token);
    await context.terminal.say(`Claim released: "${id}"`);
  },
};

export const SUBSCRIPTION_COMMANDS: readonly CommandSpec[] = [CREATE, GET, DELETE, CLAIM, ACK, RELEASE];

/** One request; the claim's token takes the place of other credentials. Returns the answer's text. */
async function ask(
  context: CommandContext,
  method: string,
  url: string,
  body?: unknown,
  token?: string,
): Promise<string> {
  const { connection } = context;
  const headers = new Headers(connection.headers);
  if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
  if (body !== undefined) headers.set("content-type", "application/json");
  const answer = await connection.fetch(url, {
    method,
    headers,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return connection.within(answer.text());
}

async function printAnswer({ terminal }: CommandContext, text: string): Promise<void> {
  let printed = text;
  try {
    printed = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // No JSON: as it came.
  }
  if (printed !== "") await terminal.print(`${printed}\n`);
}

async function leaseOf(context: CommandContext, options: OptionValues): Promise<Lease> {
  const file = options.text("claim");
  if (file !== undefined) return readLease(file, context.terminal.stdin);
  return parseLease(
    { token: options.text("token"), wake_id: options.text("wakeId"), generation: options.count("generation") },
    "--token, --wake-id and --generation",
  );
}

function parseAck(text: string): { stream: string; offset: string } {
  const at = text.lastIndexOf("=");
  if (at < 1 || at === text.length - 1) throw new Failure("usage", `--ack must be STREAM=OFFSET, not "${text}"`);
  return { stream: streamName(text.slice(0, at)), offset: text.slice(at + 1) };
}
