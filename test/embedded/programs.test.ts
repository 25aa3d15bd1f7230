import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import * as coldbrook from "@coldbrook/server";
import * as reference from "@durable-streams/server";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import * as programs from "./programs.ts";
import type { Program } from "./programs.ts";

let directory = "";
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "coldbrook-embedded-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const { registryHooksByPath, registryHooks, ...others } = programs;
const SAME: readonly (readonly [string, Program])[] = Object.entries({ registryHooks, ...others });

function on(library: object, program: Program): Promise<unknown> {
  return program({ library: library as programs.Library, directory });
}

describe("a program sees the same of Coldbrook as of the reference", () => {
  test.each(SAME)("%s", async (_, program) => {
    const silent = vi.spyOn(console, "log").mockReturnValue(undefined);
    const expected = await on(reference, program);
    silent.mockRestore();
    await rm(directory, { recursive: true, force: true });
    expect(JSON.parse(JSON.stringify(await on(coldbrook, program)))).toEqual(JSON.parse(JSON.stringify(expected)));
  });
});

test("a registry given by its path, as the older documentation has it, records the same", async () => {
  expect(await on(coldbrook, registryHooksByPath)).toEqual(await on(coldbrook, registryHooks));
});
