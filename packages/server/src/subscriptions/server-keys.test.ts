import fs from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test-support/shard.ts";
import { keysProblem, openKeys } from "./server-keys.ts";

test("keys are made once, for the owner alone, and are the same at the next start", async () => {
  await using directory = await temporaryDirectory();
  const first = openKeys(directory.path);
  const file = path.join(directory.path, "keys.json");
  expect(fs.statSync(file).mode & 0o777).toBe(0o600);
  expect(fs.readdirSync(directory.path)).toEqual(["keys.json"]);
  expect(keysProblem(directory.path)).toBeNull();
  const second = openKeys(directory.path);
  expect(second.signing.kid).toBe(first.signing.kid);
  expect(Buffer.from(second.tokenSecret).equals(Buffer.from(first.tokenSecret))).toBe(true);
});

test("a first start that was cut off is made up for", async () => {
  await using directory = await temporaryDirectory();
  fs.writeFileSync(path.join(directory.path, "keys.json.new"), '{"version":1');
  expect(openKeys(directory.path).tokenSecret).toHaveLength(32);
});

test.each(["", "{}", '{"version":1,"tokenSecret":"AAAA","signingKey":"AAAA"}\n'])(
  "a damaged file stops the start and is named: %j",
  async (text) => {
    await using directory = await temporaryDirectory();
    const file = path.join(directory.path, "keys.json");
    fs.writeFileSync(file, text);
    expect(() => openKeys(directory.path)).toThrow(file);
    expect(keysProblem(directory.path)).toContain(file);
    expect(fs.readFileSync(file, "utf8")).toBe(text);
  },
);
