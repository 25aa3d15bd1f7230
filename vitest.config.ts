import { defineConfig } from "vitest/config";

const sources = { resolve: { conditions: ["coldbrook-source"] }, ssr: { resolve: { conditions: ["coldbrook-source"] } } };

export default defineConfig({
  test: {
    projects: [
      {
        ...sources,
        test: { name: "quick", include: ["packages/*/src/**/*.test.ts", "test/quick/**/*.test.ts"], testTimeout: 30_000 },
      },
      {
        ...sources,
        test: {
          name: "full",
          include: ["test/{conformance,contract,crash,faults,cache,scale,readme}/**/*.test.ts"],
          globalSetup: ["test/s3/global-setup.ts"],
          testTimeout: 120_000,
          hookTimeout: 600_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
