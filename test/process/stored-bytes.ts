/** From a response's body back to the bytes that positions count. */

/** True for the media type `application/json`, with or without parameters. */
export function isJson(contentType: string | undefined): boolean {
  return /^application\/json\s*(;|$)/i.test(contentType ?? "");
}

/** The stored bytes of a response body: a JSON array loses its brackets and its last message gets its comma back. */
export function storedBytes(contentType: string | undefined, body: Buffer): Buffer {
  if (!isJson(contentType) || body.length === 0) return body;
  if (body[0] !== 0x5b || body[body.length - 1] !== 0x5d) {
    throw new Error(`a JSON body that is no array: ${body.subarray(0, 80).toString("utf8")}`);
  }
  return body.length === 2 ? Buffer.alloc(0) : Buffer.concat([body.subarray(1, -1), Buffer.from(",")]);
}

/** Both halves of `<generation>_<position>`. @throws Error when `offset` is not one. */
export function parseOffset(offset: string): { generation: number; position: number } {
  const match = /^(\d{16})_(\d{16})$/.exec(offset);
  if (match === null) throw new Error(`not an offset: ${offset}`);
  return { generation: Number(match[1]), position: Number(match[2]) };
}

export function offsetOf(generation: number, position: number): string {
  return `${`${generation}`.padStart(16, "0")}_${`${position}`.padStart(16, "0")}`;
}
