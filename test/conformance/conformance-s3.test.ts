import { describe, inject } from "vitest";
import { makeBucket } from "../s3/buckets.ts";
import { suiteOn } from "./suite.ts";

/** Seals after nearly every test and cuts chunks of a few messages. */
const TINY = ["--segment-bytes", "4096", "--segment-age-ms", "50", "--chunk-bytes", "1024"];

const s3 = inject("s3");

describe.runIf(s3 !== null)("on S3, almost every read across tiers", () => {
  suiteOn(async (directory) => {
    const bucket = await makeBucket(s3!);
    return { args: ["--data-dir", directory, "--store", bucket.spec, ...TINY], env: { ...bucket.environment } };
  });
});
