/** Types of `index.js`, for the tests and for whoever imports the benchmark from TypeScript. */

export interface BenchmarkOptions {
  /** Origin of the server (streams are then below `/v1/stream`), or its stream root. http or https. */
  readonly baseUrl: string;
  /** What the result calls the place where it was measured; "unknown" by default. */
  readonly environment?: string;
  /** Some of: appends, json, round-trip, hot, fan-out. All of them by default. */
  readonly cases?: readonly string[];
  /** Rounds; every figure is the median of them. 5 by default. */
  readonly rounds?: number;
  /** Length of one measured window. 2000 by default. */
  readonly roundMs?: number;
  /** Connections of the append case, ascending; 1, 16, 64 by default. */
  readonly connections?: readonly number[];
  /** Size of the largest set of streams; 1,000 by default. */
  readonly streams?: number;
  /** SSE subscribers; 100 by default. */
  readonly subscribers?: number;
  /** Size of the stream that is read in the hot case, a multiple of 64 KiB; 16 MiB by default. */
  readonly streamBytes?: number;
}

/** Over the rounds of one measure. */
export interface BenchmarkStatistics {
  readonly measure: string;
  readonly min: number;
  readonly max: number;
  readonly mean: number;
  readonly p50: number;
  readonly p75: number;
  readonly p99: number;
  readonly unit: string;
  readonly iterations: number;
}

export interface Figure {
  readonly key: string;
  readonly measure: string;
  readonly server: string;
  readonly unit: string;
  readonly better: "more" | "less";
  readonly value: number | null;
  readonly rounds: readonly number[];
  readonly latencyMicros: {
    readonly p50: number;
    readonly p90: number;
    readonly p99: number;
    readonly p999: number;
  } | null;
  readonly generatorCpuShare: number;
  readonly note: string;
  readonly warnings: readonly string[];
}

/** The machine-readable result of a run; the README says what each field is. */
export interface BenchResult {
  readonly schema: number;
  readonly at: string;
  readonly url: string | null;
  readonly environment: {
    readonly name: string;
    readonly cpu: string;
    readonly cores: number;
    readonly memoryBytes: number;
    readonly system: string;
    readonly node: string;
    readonly fileSystem: string;
    readonly diskSyncMicros: number;
    readonly loadBefore: number;
    readonly coldbrook: string;
    readonly peers: Readonly<Record<string, string>>;
  };
  readonly settings: { readonly rounds: number; readonly roundMs: number; readonly cases: readonly string[] };
  readonly figures: readonly Figure[];
  readonly goals: readonly {
    readonly id: string;
    readonly measure: string;
    readonly bound: "at-least" | "at-most";
    readonly goal: number;
    readonly unit: string;
    readonly value: number | null;
    readonly verdict: "pass" | "miss" | "scaled" | "not measured";
    readonly detail: string;
  }[];
  readonly failures: readonly string[];
}

export interface BenchmarkReport {
  readonly environment: string;
  readonly baseUrl: string;
  readonly timestamp: string;
  /** By the key of the measure, e.g. `appends/64/100`: 64 connections, 100 streams. */
  readonly results: Readonly<Record<string, BenchmarkStatistics>>;
  readonly detail: BenchResult;
}

/** Measures a running server. Streams that it makes stay there. */
export function runBenchmarks(options: BenchmarkOptions): Promise<BenchmarkReport>;
