/**
 * Module hooks: what the server imports that is not deterministic is resolved to a shim, what it loads late is loaded early, bounds
 * are made small, and a planted bug is applied to the text of the one file that it names. Only files below packages/<name>/dist are touched.
 */
import type { LoadHook, ResolveHook } from "node:module";
import { applyBound, BOUNDS } from "./bounds.ts";
import { importEarly } from "./early-imports.ts";
import type { Patch } from "./planted/patch.ts";
import { applyPatch } from "./planted/patch.ts";

interface HookData {
  /** URL of the directory of the packages, with a slash at its end. */
  readonly packages: string;
  /** URL of the directory of the shims, with a slash at its end. */
  readonly shims: string;
  readonly patches: readonly Patch[];
}

const SHIMS: Readonly<Record<string, string>> = {
  "node:fs": "fs.js",
  "node:fs/promises": "fs-promises.js",
  "node:timers/promises": "timers-promises.js",
  "node:crypto": "crypto.js",
  lmdb: "lmdb.js",
};
const S3 = "tiering/dist/object-store/s3.js";

let data: HookData;

export function initialize(given: HookData): void {
  data = given;
}

export const resolve: ResolveHook = async (specifier, context, next) => {
  const isOurs = context.parentURL?.startsWith(data.packages) === true && context.parentURL.includes("/dist/");
  const shim = isOurs ? SHIMS[specifier] : undefined;
  if (shim !== undefined) return { url: data.shims + shim, shortCircuit: true };
  const found = await next(specifier, context);
  return found.url === data.packages + S3 ? { ...found, url: `${data.shims}s3.js` } : found;
};

export const load: LoadHook = async (url, context, next) => {
  const loaded = await next(url, context);
  if (!url.startsWith(data.packages)) return loaded;
  const file = url.slice(data.packages.length);
  if (!file.includes("/dist/")) return loaded;
  const patches = data.patches.filter((patch) => patch.file === file);
  const bounds = BOUNDS.filter((bound) => bound.file === file);
  const { source } = loaded;
  if (source === undefined || source === null) throw new Error(`${url} has no text to patch`);
  let text = typeof source === "string" ? source : Buffer.from(source as Uint8Array).toString("utf8");
  text = importEarly(file, text);
  for (const patch of patches) text = applyPatch(patch, text);
  for (const bound of bounds) text = applyBound(bound, text);
  return { ...loaded, source: text };
};
