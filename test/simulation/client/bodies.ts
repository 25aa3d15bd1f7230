/** Bytes that no other message of a run has, so that one that is lost, doubled or moved shows. */

/** Messages of these sizes (more or less), as they are stored. */
export function messagesOf(name: string, sizes: readonly number[], contentType: string): string[] {
  const isJson = contentType === "application/json";
  const messages = sizes.map((size, i) => {
    const tag = `${name}.${i}`;
    return isJson ? `{"m":"${filled(tag, Math.max(0, size - 8))}"},` : filled(tag, size);
  });
  return isJson ? messages : [messages.join("")].filter((message) => message !== "");
}

function filled(tag: string, size: number): string {
  const text = `<${tag}>`;
  return size <= text.length
    ? text
    : text + tag.repeat(Math.ceil((size - text.length) / tag.length)).slice(0, size - text.length);
}
