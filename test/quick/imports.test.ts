import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const PACKAGES: string = fileURLToPath(new URL("../../packages", import.meta.url));
/** What each package may import of the others. */
const MAY_IMPORT = {
  core: [],
  tiering: ["@coldbrook/core"],
  server: ["@coldbrook/core", "@coldbrook/tiering"],
} as const;

type PackageName = keyof typeof MAY_IMPORT;
const NAMES: readonly PackageName[] = ["core", "tiering", "server"];

interface Source {
  /** Below the package's `src`. */
  readonly file: string;
  readonly directory: string;
  readonly text: string;
  readonly imports: readonly string[];
}

/** Static imports and re-exports, `import()` and `require()` of a literal. */
const IMPORT =
  /(?:^|[;\n])\s*(?:import|export)\b(?:[^"';]*?\bfrom)?\s*["']([^"']+)["']|\b(?:import|require)\s*\(\s*["'`]([^"'`]+)["'`]/g;

function importsOf(text: string): string[] {
  return [...text.matchAll(IMPORT)].map((match) => match[1] ?? match[2] ?? "");
}

/** Everything below `src` but the tests, which may use what they like. */
function sourcesOf(name: PackageName): readonly Source[] {
  const root = path.join(PACKAGES, name, "src");
  const files = readdirSync(root, { recursive: true, encoding: "utf8" });
  return files
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
    .map((file) => {
      const text = readFileSync(path.join(root, file), "utf8");
      return { file, directory: path.dirname(path.join(root, file)), text, imports: importsOf(text) };
    });
}

const all = Object.fromEntries(NAMES.map((name) => [name, sourcesOf(name)])) as Record<PackageName, readonly Source[]>;

/** `file imports module` for each import that `isWrong`. */
function wrong(name: PackageName, isWrong: (imported: string, source: Source) => boolean): string[] {
  return all[name].flatMap((source) =>
    source.imports
      .filter((imported) => isWrong(imported, source))
      .map((imported) => `${source.file} imports ${imported}`),
  );
}

function dependenciesOf(name: PackageName): readonly string[] {
  const manifest = JSON.parse(readFileSync(path.join(PACKAGES, name, "package.json"), "utf8")) as {
    dependencies?: Record<string, string>;
  };
  return Object.keys(manifest.dependencies ?? {});
}

/** `@scope/name/file` and `name/file` to the package they are of. */
function packageOf(imported: string): string {
  return imported
    .split("/")
    .slice(0, imported.startsWith("@") ? 2 : 1)
    .join("/");
}

const isRelative = (imported: string): boolean => imported.startsWith(".");
const isNode = (imported: string): boolean => imported.startsWith("node:");

test("every way to import is seen", () => {
  const text = `import a from "a";\nimport {\n  b,\n} from 'b';\nimport type { C } from "c";\nimport "d";
export * from "e";\nexport type { F } from "f";\nconst g = await import("g"); const h = require('h');\nexport const i = "no";`;
  expect(importsOf(text)).toEqual(["a", "b", "c", "d", "e", "f", "g", "h"]);
});

test("core imports nothing but its own files", () => {
  expect(all.core.length).toBeGreaterThan(20);
  expect(wrong("core", (imported) => !isRelative(imported))).toEqual([]);
});

test("core names no global of Node, no clock and no randomness", () => {
  const impure =
    /\b(?:process\.|Buffer\b|Date\.now|new Date\(\s*\)|performance\.|Math\.random|setTimeout|setInterval|async |await )/;
  const code = (text: string): string => text.replaceAll(/\/\*[^]*?\*\/|\/\/[^\n]*/g, "");
  expect(all.core.filter(({ text }) => impure.test(code(text))).map(({ file }) => file)).toEqual([]);
});

describe.each(NAMES)("%s", (name) => {
  test("imports of the other packages only those below it", () => {
    const allowed: readonly string[] = MAY_IMPORT[name];
    expect(wrong(name, (imported) => imported.startsWith("@coldbrook/") && !allowed.includes(imported))).toEqual([]);
  });

  test("declares what it imports, and imports what it declares", () => {
    const external = all[name].flatMap(({ imports }) => imports.filter((one) => !isRelative(one) && !isNode(one)));
    expect([...new Set(external.map(packageOf))].sort()).toEqual([...dependenciesOf(name)].sort());
  });

  test("reaches no file outside of its own src", () => {
    const root = path.join(PACKAGES, name, "src") + path.sep;
    expect(
      wrong(
        name,
        (imported, { directory }) => isRelative(imported) && !path.resolve(directory, imported).startsWith(root),
      ),
    ).toEqual([]);
  });

  test("names the extension of each file it imports, and the node: of each module of Node", () => {
    const bare =
      /^(?:assert|buffer|child_process|crypto|events|fs|http|https|net|os|path|stream|timers|url|util|zlib)(?:\/|$)/;
    expect(wrong(name, (imported) => (isRelative(imported) ? !imported.endsWith(".ts") : bare.test(imported)))).toEqual(
      [],
    );
  });

  test("has no barrel but its index.ts", () => {
    const barrels = all[name].filter(
      ({ file, text }) => file !== "index.ts" && /^export\s+(?:type\s+)?(?:\*|\{[^}]*\})\s*from\b/m.test(text),
    );
    expect(barrels.map(({ file }) => file)).toEqual([]);
    expect(wrong(name, (imported) => isRelative(imported) && imported.endsWith("index.ts"))).toEqual([]);
  });

  test("reads the environment in settings.ts or not at all", () => {
    const readers = all[name].filter(({ text }) => /\bprocess\.env\b|\bprocess\s*\[\s*["']env/.test(text));
    expect(readers.map(({ file }) => file).filter((file) => file !== "settings.ts")).toEqual([]);
  });
});
