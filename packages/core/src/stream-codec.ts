/** Field groups that several persisted formats share, so that each has one encoding. A format's version covers them. */

import { generation, position } from "./brand.ts";
import { DecodeError } from "./bytes.ts";
import type { ByteReader, ByteWriter } from "./bytes.ts";
import type { Block } from "./extent.ts";
import type { LineageEntry, ProducerTuple, StreamConfig, StreamIdentity } from "./stream-state.ts";

export function writeFlag(writer: ByteWriter, value: boolean): void {
  writer.u8(value ? 1 : 0);
}

export function readFlag(reader: ByteReader): boolean {
  const at = reader.at;
  const value = reader.u8();
  if (value > 1) throw new DecodeError(`flag of value ${value}`, at);
  return value === 1;
}

export function writeNullableNumber(writer: ByteWriter, value: number | null): void {
  writeFlag(writer, value !== null);
  if (value !== null) writer.varint(value);
}

export function writeNullableString(writer: ByteWriter, value: string | null): void {
  writeFlag(writer, value !== null);
  if (value !== null) writer.string(value);
}

export function readNullableNumber(reader: ByteReader): number | null {
  return readFlag(reader) ? reader.varint() : null;
}

export function readNullableString(reader: ByteReader): string | null {
  return readFlag(reader) ? reader.string() : null;
}

export function writeProducer(writer: ByteWriter, producer: ProducerTuple): void {
  writer.string(producer.id);
  writer.varint(producer.epoch);
  writer.varint(producer.seq);
}

export function readProducer(reader: ByteReader): ProducerTuple {
  return { id: reader.string(), epoch: reader.varint(), seq: reader.varint() };
}

export function writeProducers(writer: ByteWriter, producers: readonly ProducerTuple[]): void {
  writer.varint(producers.length);
  for (const producer of producers) writeProducer(writer, producer);
}

export function readProducers(reader: ByteReader): ProducerTuple[] {
  const producers: ProducerTuple[] = [];
  for (let count = reader.varint(); count > 0; count--) producers.push(readProducer(reader));
  return producers;
}

export function writeNullableProducer(writer: ByteWriter, producer: ProducerTuple | null): void {
  writeFlag(writer, producer !== null);
  if (producer !== null) writeProducer(writer, producer);
}

export function readNullableProducer(reader: ByteReader): ProducerTuple | null {
  return readFlag(reader) ? readProducer(reader) : null;
}

export function writeConfig(writer: ByteWriter, config: StreamConfig): void {
  writer.string(config.contentType);
  writeNullableNumber(writer, config.ttlSeconds);
  writeNullableNumber(writer, config.expiresAtMs);
}

export function readConfig(reader: ByteReader): StreamConfig {
  return {
    contentType: reader.string(),
    ttlSeconds: readNullableNumber(reader),
    expiresAtMs: readNullableNumber(reader),
  };
}

export function writeLineage(writer: ByteWriter, lineage: readonly LineageEntry[]): void {
  writer.varint(lineage.length);
  for (const entry of lineage) {
    writer.varint(entry.generation);
    writer.varint(entry.first);
    // Generations start at 1, so 0 is free to stand for the stream itself.
    writer.varint(entry.source ?? 0);
  }
}

export function readLineage(reader: ByteReader): LineageEntry[] {
  const lineage: LineageEntry[] = [];
  for (let count = reader.varint(); count > 0; count--) {
    const owner = generation(reader.varint());
    const first = position(reader.varint());
    const source = reader.varint();
    lineage.push({ generation: owner, first, source: source === 0 ? null : generation(source) });
  }
  return lineage;
}

export function writeIdentity(writer: ByteWriter, identity: StreamIdentity): void {
  writer.varint(identity.id);
  writer.string(identity.path);
  writeConfig(writer, identity.config);
  writer.varint(identity.createdAtMs);
  writeLineage(writer, identity.lineage);
}

export function readIdentity(reader: ByteReader): StreamIdentity {
  return {
    id: generation(reader.varint()),
    path: reader.string(),
    config: readConfig(reader),
    createdAtMs: reader.varint(),
    lineage: readLineage(reader),
  };
}

export function writeBlocks(writer: ByteWriter, blocks: readonly Block[]): void {
  writer.varint(blocks.length);
  for (const block of blocks) {
    writer.varint(block.payloadBytes);
    writer.varint(block.tableBytes);
    writer.u32(block.crc);
  }
}

/** The blocks of an extent of `bytes` bytes. */
export function readBlocks(reader: ByteReader, bytes: number): Block[] {
  const start = reader.at;
  const blocks: Block[] = [];
  let sum = 0;
  for (let count = reader.varint(); count > 0; count--) {
    const block: Block = { payloadBytes: reader.varint(), tableBytes: reader.varint(), crc: reader.u32() };
    sum += block.payloadBytes;
    if (block.payloadBytes === 0 || sum > bytes)
      throw new DecodeError("blocks that do not add up to their extent", start);
    blocks.push(block);
  }
  if (sum !== bytes) throw new DecodeError("blocks that do not add up to their extent", start);
  return blocks;
}
