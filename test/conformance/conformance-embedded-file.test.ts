import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe } from "vitest";
import { suiteOnEmbedded } from "./embedded.ts";

describe("on the embeddable server in a directory", () => {
  let dataDir = "";
  afterAll(() => rm(dataDir, { recursive: true, force: true }));
  suiteOnEmbedded(async () => {
    dataDir = await mkdtemp(path.join(tmpdir(), "coldbrook-conformance-"));
    return { dataDir };
  });
});
