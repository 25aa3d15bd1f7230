/** An S3 server to test against, as every test process gets it by `inject("s3")`. */
export interface S3Endpoint {
  /** `http://127.0.0.1:PORT`, without a slash at its end. */
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly region: string;
  /** Where it comes from. */
  readonly kind: "given" | "container" | "binary";
}

/** A server that runs for one test run. */
export interface RunningS3 {
  readonly endpoint: S3Endpoint;
  /** For the line that is printed. */
  readonly version: string;
  readonly stop: () => Promise<void>;
}

declare module "vitest" {
  export interface ProvidedContext {
    /** null when no S3 server could be had, which CI does not accept. */
    s3: S3Endpoint | null;
  }
}
