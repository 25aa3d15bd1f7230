import { describe } from "vitest";
import { suiteOn } from "./suite.ts";

describe("on the embedded default", () => {
  suiteOn((directory) => Promise.resolve({ args: ["--data-dir", directory] }));
});
