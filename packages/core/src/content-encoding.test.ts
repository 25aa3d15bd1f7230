import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isCompressible, negotiateEncoding, type ContentCoding } from "./content-encoding.ts";

describe("the coding of a response", () => {
  test.each<[string | undefined, ContentCoding | null]>([
    [undefined, null],
    ["", null],
    [",", null],
    ["gzip", "gzip"],
    ["deflate", "deflate"],
    ["br", null],
    ["br, zstd", null],
    ["gzip, deflate, br, zstd", "gzip"],
    ["deflate, gzip", "gzip"],
    ["GZip", "gzip"],
    ["x-gzip", "gzip"],
    ["x-gzip, gzip;q=0", null],
    [" \tgzip\t ; q=0.5 ", "gzip"],
    ["gzip;q=0.4, deflate;q=0.5", "deflate"],
    ["gzip;q=0.5, deflate;q=0.5", "gzip"],
    ["gzip;q=0.001", "gzip"],
    ["gzip;Q=1.000", "gzip"],
    ["gzip;q=1.", "gzip"],
    ["gzip;q=0", null],
    ["gzip;q=0.000", null],
    ["gzip;q=0, deflate", "deflate"],
    ["gzip;q=0, deflate;q=0, br", null],
    ["*", "gzip"],
    ["*;q=0", null],
    ["*;q=0.1", "gzip"],
    ["*, gzip;q=0", "deflate"],
    ["gzip;q=0.5, *;q=0.7", "deflate"],
    ["gzip;q=0.5, deflate;q=0.5, *;q=0.7", null],
    ["gzip;q=0, deflate;q=0, *", null],
    ["gzip, *;q=0", "gzip"],
    ["br, *;q=0", null],
    ["identity", null],
    ["identity, gzip", "gzip"],
    ["identity;q=0.5, gzip;q=0.4", null],
    ["identity;q=0.5, gzip;q=0.5", "gzip"],
    ["identity;q=0", null],
    ["identity;q=0, gzip;q=0.1", "gzip"],
    ["identity;q=0, *", "gzip"],
    ["identity;q=0, gzip;q=0, deflate;q=0", null],
    ["gzip;q=1.5", null],
    ["gzip;q=1.001", null],
    ["gzip;q=-1", null],
    ["gzip;q=0.1234", null],
    ["gzip;q=x, *", "deflate"],
    ["gzip;q", null],
    ["gzip;", null],
    ["gzip;level=9", null],
    ["gzip, gzip;q=0", "gzip"],
    ["gzi p", null],
    ["gzip deflate", null],
    ["gzipped", null],
    ['"gzip"', null],
    ["__proto__, constructor", null],
  ])("for Accept-Encoding: %s is %s", (header, coding) => {
    expect(negotiateEncoding(header)).toBe(coding);
  });

  test("is one that the header names, or that its asterisk stands for", () => {
    fc.assert(
      fc.property(fc.string(), (header) => {
        const coding = negotiateEncoding(header);
        if (coding !== null) expect(header.toLowerCase().includes(coding) || header.includes("*")).toBe(true);
      }),
    );
  });

  test("comes from the lists that clients really send", () => {
    const members = fc.subarray(["gzip", "deflate", "br", "zstd", "identity"], { minLength: 0 });
    fc.assert(
      fc.property(members, (names) => {
        const expected = names.includes("gzip") ? "gzip" : names.includes("deflate") ? "deflate" : null;
        expect(negotiateEncoding(names.join(", "))).toBe(expected);
      }),
    );
  });
});

describe("what is worth compressing", () => {
  test.each([
    "text/plain",
    "text/html; charset=utf-8",
    "application/json",
    "application/ld+json",
    "application/octet-stream",
    "application/x-ndjson",
    "application/wasm",
    "image/svg+xml",
    "IMAGE/SVG+XML; charset=utf-8",
    "audio/wav",
    "font/ttf",
    "application/zipped-list",
    "text/plain; of=image/png",
    "something",
    "",
  ])("%s is", (contentType) => {
    expect(isCompressible(contentType)).toBe(true);
  });

  test.each([
    "image/png",
    "Image/JPEG",
    "image/webp ; x=y",
    "video/mp4",
    "audio/ogg",
    "font/woff2",
    "application/zip",
    "application/gzip",
    "application/x-gzip",
    "application/zstd",
    "application/x-7z-compressed",
    "application/pdf",
    "application/epub+zip",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
  ])("%s is not", (contentType) => {
    expect(isCompressible(contentType)).toBe(false);
  });
});
