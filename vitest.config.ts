import { availableParallelism } from "node:os";
import { configDefaults, defineConfig } from "vitest/config";

/** Tests run the sources; only the server under test is a build. */
const sources = {
  resolve: { conditions: ["coldbrook-source"] },
  ssr: { resolve: { conditions: ["coldbrook-source"] } },
};

/** Tests that load the machine by themselves run one file after the other. */
const ALONE = "faults,cdn,scale,fuzz,simulation,bench";
/** Tests that start, kill and damage one small server after the other, and measure nothing. */
const CRASHES = ["test/crash/**/*.test.ts", "test/faults/catalog.test.ts", "test/faults/corruption.test.ts"];
/** Tests of what other programs see. */
const PROGRAMS = "contract,cache,readme,pack,clients,cli,embedded";

/** CI adds up the results of its runs from here. */
const RESULTS = "node_modules/.vitest/results.json";
const inCi = (process.env["CI"] ?? "") !== "";

export default defineConfig({
  test: {
    reporters: inCi ? ["default", ["json", { outputFile: RESULTS }]] : ["default"],
    // One project after the other: the later ones start servers of their own and would starve each other.
    projects: [
      {
        ...sources,
        test: {
          name: "quick",
          include: ["packages/*/src/**/*.test.ts", "test/quick/**/*.test.ts"],
          testTimeout: 30_000,
          // Left to itself vitest keeps one CPU free, which of two is half of them.
          maxWorkers: Math.max(2, availableParallelism() - 1),
          sequence: { groupOrder: 1 },
        },
      },
      {
        ...sources,
        test: {
          name: "conformance",
          include: ["test/conformance/**/*.test.ts"],
          globalSetup: ["test/s3/global-setup.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // All four files at once: their time goes into long-polls of 30 s each.
          maxWorkers: 4,
          sequence: { groupOrder: 2 },
        },
      },
      {
        ...sources,
        test: {
          name: "full",
          include: [`test/{${ALONE}}/**/*.test.ts`],
          exclude: [...configDefaults.exclude, ...CRASHES],
          globalSetup: ["test/s3/global-setup.ts"],
          testTimeout: 120_000,
          hookTimeout: 600_000,
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
      {
        ...sources,
        test: {
          name: "crashes",
          include: CRASHES,
          globalSetup: ["test/s3/global-setup.ts"],
          testTimeout: 120_000,
          hookTimeout: 600_000,
          // Two files at once: a start waits for the disk and for its reader in turn, and uses one CPU at a time.
          maxWorkers: 2,
          sequence: { groupOrder: 5 },
        },
      },
      {
        ...sources,
        test: {
          name: "programs",
          include: [`test/{${PROGRAMS}}/**/*.test.ts`],
          globalSetup: ["test/s3/global-setup.ts"],
          testTimeout: 120_000,
          hookTimeout: 600_000,
          // Two files at once: they mostly wait for programs to start and for each other's answers.
          maxWorkers: 2,
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});
