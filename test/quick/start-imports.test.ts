import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const PACKAGES = fileURLToPath(new URL("../../packages", import.meta.url));
/** What `coldbrook serve` loads before it listens. */
const ENTRIES = ["server/src/cli/main.ts", "server/src/compose.ts", "server/src/log.ts"];
/** Each takes as long to load as the server itself, and not every server needs it: the first use loads it. */
const LATE = ["@aws-sdk/client-s3", "@smithy/node-http-handler", "undici", "pino-pretty"];

/** A statement that loads its module when the file itself is loaded: no type import, no `import()`. */
const STATIC = /^(?:import|export)(?!\s+type\b)(?:[^;"]*?\bfrom)?\s*"([^"]+)"/gm;

/** Every package that the files load, and the first file that does. */
function loadedFrom(entries: readonly string[]): ReadonlyMap<string, string> {
  const seen = new Set<string>();
  const packages = new Map<string, string>();
  const queue = entries.map((entry) => join(PACKAGES, entry));
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (seen.has(file)) continue;
    seen.add(file);
    for (const [, name = ""] of readFileSync(file, "utf8").matchAll(STATIC)) {
      const own = /^@coldbrook\/(\w+)$/.exec(name)?.[1];
      if (name.startsWith(".")) queue.push(join(dirname(file), name));
      else if (own !== undefined) queue.push(join(PACKAGES, own, "src/index.ts"));
      else if (!packages.has(name)) packages.set(name, file.slice(PACKAGES.length + 1));
    }
  }
  return packages;
}

test("a start loads no module that only some servers need", () => {
  const loaded = loadedFrom(ENTRIES);
  // What a start does need is found, so what it does not need would be.
  expect([...loaded.keys()]).toEqual(expect.arrayContaining(["lmdb", "pino", "p-queue", "lru-cache"]));
  expect(LATE.flatMap((name) => (loaded.has(name) ? [`${loaded.get(name)} imports ${name}`] : []))).toEqual([]);
});

test("the modules that a start leaves out are those of files that exist", () => {
  const users = [
    "tiering/src/object-store/s3.ts",
    "tiering/src/object-store/answered-handler.ts",
    "tiering/src/object-store/range-gets.ts",
    "server/src/webhook/webhook-client.ts",
    "server/src/log.ts",
  ];
  const texts = users.map((user) => {
    const file = join(PACKAGES, user);
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  });
  for (const name of LATE)
    expect(
      texts.some((text) => text.includes(`"${name}"`)),
      name,
    ).toBe(true);
});
