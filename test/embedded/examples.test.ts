import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test, vi } from "vitest";

const HERE: string = fileURLToPath(new URL(".", import.meta.url));
const page = await readFile(path.join(HERE, "../../docs/embedding.md"), "utf8");

test.each([
  ["create-coldbrook", [["Hello, world"]]],
  ["fetch-handler", [[200, "Hello"]]],
  [
    "test-server",
    [
      [503, "1"],
      [200, [{ id: 1 }]],
    ],
  ],
])("the page's example %s prints what it should, and is in the page word for word", async (name, printed) => {
  const before = process.cwd();
  const directory = await mkdtemp(path.join(tmpdir(), "coldbrook-example-"));
  const log = vi.spyOn(console, "log").mockReturnValue(undefined);
  process.chdir(directory);
  try {
    await import(`./examples/${name}.ts`);
    expect(log.mock.calls).toEqual(printed);
  } finally {
    log.mockRestore();
    process.chdir(before);
    await rm(directory, { recursive: true, force: true });
  }
  const [, ...lines] = (await readFile(path.join(HERE, `examples/${name}.ts`), "utf8")).split("\n");
  expect(page).toContain(`\`\`\`ts\n${lines.join("\n")}\`\`\`\n`);
});
