/**
 * The bytes of subscriptions: the field groups of their log frames and roll-record digests, whose formats' versions
 * cover them, and their catalog values, version 1 (see catalog-value.ts). Every decoder throws DecodeError.
 */

import { generation, lsn } from "./brand.ts";
import type { Generation } from "./brand.ts";
import { DecodeError } from "./bytes.ts";
import type { ByteReader, ByteWriter } from "./bytes.ts";
import { catalogKey, checkCatalogValue, closeCatalogValue, openCatalogValue } from "./catalog-value.ts";
import type { Crc32 } from "./ports.ts";
import {
  readFlag,
  readNullableNumber,
  readNullableString,
  writeFlag,
  writeNullableNumber,
  writeNullableString,
} from "./stream-codec.ts";
import type { SubscriptionDigest } from "./subscription-replay.ts";
import type {
  SubscriptionChange,
  SubscriptionConfig,
  SubscriptionCreated,
  SubscriptionFrame,
  SubscriptionLink,
  SubscriptionState,
  Wake,
  WakeRetry,
} from "./subscription.ts";

const TYPE = { webhook: 1, "pull-wake": 2 } as const;

function readType(reader: ByteReader): SubscriptionConfig["type"] {
  const at = reader.at;
  const code = reader.u8();
  if (code === TYPE.webhook) return "webhook";
  if (code === TYPE["pull-wake"]) return "pull-wake";
  throw new DecodeError(`subscription of unknown type ${code}`, at);
}

function writeStrings(writer: ByteWriter, texts: readonly string[]): void {
  writer.varint(texts.length);
  for (const text of texts) writer.string(text);
}

function readStrings(reader: ByteReader): string[] {
  const texts: string[] = [];
  for (let count = reader.varint(); count > 0; count--) texts.push(reader.string());
  return texts;
}

function writeCreated(writer: ByteWriter, created: SubscriptionCreated): void {
  const { name, config, configHash } = created;
  writer.string(name);
  writer.u8(TYPE[config.type]);
  writeNullableString(writer, config.pattern);
  writeStrings(writer, config.streams);
  writeNullableString(writer, config.webhookUrl);
  writeNullableString(writer, config.wakeStream);
  writer.varint(config.leaseTtlMs);
  writeNullableString(writer, config.description);
  writer.string(configHash);
}

function readCreated(reader: ByteReader): SubscriptionCreated {
  const name = reader.string();
  const config: SubscriptionConfig = {
    type: readType(reader),
    pattern: readNullableString(reader),
    streams: readStrings(reader),
    webhookUrl: readNullableString(reader),
    wakeStream: readNullableString(reader),
    leaseTtlMs: reader.varint(),
    description: readNullableString(reader),
  };
  return { name, config, configHash: reader.string() };
}

function writeNullableWake(writer: ByteWriter, wake: Wake | null): void {
  writeFlag(writer, wake !== null);
  if (wake === null) return;
  writer.string(wake.wakeId);
  writer.string(wake.stream);
  writeNullableString(writer, wake.holder);
  writeNullableNumber(writer, wake.leaseUntilMs);
}

function readNullableWake(reader: ByteReader): Wake | null {
  if (!readFlag(reader)) return null;
  return {
    wakeId: reader.string(),
    stream: reader.string(),
    holder: readNullableString(reader),
    leaseUntilMs: readNullableNumber(reader),
  };
}

function writeNullableRetry(writer: ByteWriter, retry: WakeRetry | null): void {
  writeFlag(writer, retry !== null);
  if (retry === null) return;
  writer.varint(retry.count);
  writer.varint(retry.nextAttemptAtMs);
}

function readNullableRetry(reader: ByteReader): WakeRetry | null {
  return readFlag(reader) ? { count: reader.varint(), nextAttemptAtMs: reader.varint() } : null;
}

type Head = Pick<SubscriptionChange, "generation" | "wake" | "retry" | "deleted">;

function writeHead(writer: ByteWriter, head: Head): void {
  writer.varint(head.generation);
  writeNullableWake(writer, head.wake);
  writeNullableRetry(writer, head.retry);
  writeFlag(writer, head.deleted);
}

function readHead(reader: ByteReader): Head {
  return {
    generation: reader.varint(),
    wake: readNullableWake(reader),
    retry: readNullableRetry(reader),
    deleted: readFlag(reader),
  };
}

/** A link without its path: bit 0 says explicit, bit 1 glob. */
function writeCursor(writer: ByteWriter, link: SubscriptionLink): void {
  if (!link.explicit && !link.glob) throw new RangeError(`link to ${link.path} that is neither explicit nor a glob's`);
  writer.u8((link.explicit ? 1 : 0) + (link.glob ? 2 : 0));
  writer.string(link.acked);
}

function readCursor(reader: ByteReader, path: string): SubscriptionLink {
  const at = reader.at;
  const bits = reader.u8();
  if (bits < 1 || bits > 3) throw new DecodeError(`subscription link of unknown kind ${bits}`, at);
  return { path, explicit: bits % 2 === 1, glob: bits >= 2, acked: reader.string() };
}

function writeLinks(writer: ByteWriter, change: Pick<SubscriptionChange, "links" | "unlinked">): void {
  writer.varint(change.links.length);
  for (const link of change.links) {
    writer.string(link.path);
    writeCursor(writer, link);
  }
  writeStrings(writer, change.unlinked);
}

function readLinks(reader: ByteReader): Pick<SubscriptionChange, "links" | "unlinked"> {
  const links: SubscriptionLink[] = [];
  for (let count = reader.varint(); count > 0; count--) links.push(readCursor(reader, reader.string()));
  return { links, unlinked: readStrings(reader) };
}

/** The fields of a frame that are not every frame's. */
export type SubscriptionFields = Omit<SubscriptionFrame, "kind" | "stream" | "atMs">;

export function writeSubscriptionFields(writer: ByteWriter, fields: SubscriptionFields): void {
  writeFlag(writer, fields.created !== null);
  if (fields.created !== null) writeCreated(writer, fields.created);
  writeHead(writer, fields);
  writeLinks(writer, fields);
}

export function readSubscriptionFields(reader: ByteReader): SubscriptionFields {
  const created = readFlag(reader) ? readCreated(reader) : null;
  return { created, ...readHead(reader), ...readLinks(reader) };
}

export function writeSubscriptionDigest(writer: ByteWriter, digest: SubscriptionDigest): void {
  writer.varint(digest.stream);
  writeSubscriptionFields(writer, digest);
  if (digest.created !== null) writer.varint(digest.created.createdAtMs);
  writer.varint(digest.lsn);
}

export function readSubscriptionDigest(reader: ByteReader): SubscriptionDigest {
  const stream = generation(reader.varint());
  const fields = readSubscriptionFields(reader);
  const created = fields.created === null ? null : { ...fields.created, createdAtMs: reader.varint() };
  return { ...fields, stream, created, lsn: lsn(reader.varint()) };
}

/** A subscription's head in the catalog; its key is its id. */
export function encodeSubscription(state: SubscriptionState, crc: Crc32): Uint8Array {
  const writer = openCatalogValue();
  writeCreated(writer, state);
  writer.varint(state.createdAtMs);
  writeHead(writer, state);
  writer.varint(state.lsn);
  return closeCatalogValue(writer, catalogKey("subscription", state.id, ""), crc);
}

export function decodeSubscription(id: Generation, bytes: Uint8Array, crc: Crc32): SubscriptionState {
  const reader = checkCatalogValue(bytes, catalogKey("subscription", id, ""), crc);
  const created = readCreated(reader);
  const createdAtMs = reader.varint();
  const state: SubscriptionState = { id, ...created, createdAtMs, ...readHead(reader), lsn: lsn(reader.varint()) };
  reader.finish();
  return state;
}

/** A link in the catalog; its key is its subscription's id and its path. */
export function encodeLink(id: Generation, link: SubscriptionLink, crc: Crc32): Uint8Array {
  const writer = openCatalogValue();
  writeCursor(writer, link);
  return closeCatalogValue(writer, catalogKey("link", id, link.path), crc);
}

export function decodeLink(id: Generation, path: string, bytes: Uint8Array, crc: Crc32): SubscriptionLink {
  const reader = checkCatalogValue(bytes, catalogKey("link", id, path), crc);
  const link = readCursor(reader, path);
  reader.finish();
  return link;
}
