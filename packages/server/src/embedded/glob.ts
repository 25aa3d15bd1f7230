/** Patterns of stream paths (protocol section 6.2), as a function for callers who do not mind a slash more or less. */
import { globMatch as matches } from "@coldbrook/core";

/** Whether the path matches: `*` is one segment, `**` any number of them. Empty segments on either side do not count. */
export function globMatch(pattern: string, path: string): boolean {
  const wanted = segments(pattern);
  const given = segments(path);
  if (given.length === 0) return wanted.every((segment) => segment === "**");
  return wanted.length > 0 && matches(wanted.join("/"), given.join("/"));
}

function segments(text: string): string[] {
  return text.split("/").filter((segment) => segment !== "");
}
