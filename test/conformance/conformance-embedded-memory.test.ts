import { describe } from "vitest";
import { suiteOnEmbedded } from "./embedded.ts";

describe("on the embeddable server in memory", () => {
  suiteOnEmbedded(() => Promise.resolve({}));
});
