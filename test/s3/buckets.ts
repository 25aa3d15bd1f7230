import { randomUUID } from "node:crypto";
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  ListObjectsV2Command,
  S3Client,
} from "@aws-sdk/client-s3";
import type { S3Endpoint } from "./endpoint.ts";

/** What a process needs in its environment to reach a bucket, laid over the runner's own. */
export interface S3Environment {
  readonly AWS_ENDPOINT_URL_S3: string;
  readonly AWS_ACCESS_KEY_ID: string;
  readonly AWS_SECRET_ACCESS_KEY: string;
  readonly AWS_REGION: string;
  /** Empty, as the SDK would prefer the runner's own profile and session to these keys. */
  readonly AWS_PROFILE: string;
  readonly AWS_SESSION_TOKEN: string;
}

export interface Bucket extends AsyncDisposable {
  readonly bucket: string;
  /** `s3://BUCKET`, as the server's setting takes it. */
  readonly spec: string;
  readonly environment: S3Environment;
  /** Talks to the server directly, past any proxy. */
  readonly client: S3Client;
  /** The same with all requests sent to another endpoint, such as a fault proxy before this one. */
  environmentVia(endpoint: string): S3Environment;
}

/** A fresh bucket. Disposing empties and removes it where the server outlives the run. */
export async function makeBucket(s3: S3Endpoint): Promise<Bucket> {
  const bucket = `coldbrook-${randomUUID()}`;
  const client = makeClient(s3);
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  const environmentVia = (endpoint: string): S3Environment => ({
    AWS_ENDPOINT_URL_S3: endpoint,
    AWS_ACCESS_KEY_ID: s3.accessKeyId,
    AWS_SECRET_ACCESS_KEY: s3.secretAccessKey,
    AWS_REGION: s3.region,
    AWS_PROFILE: "",
    AWS_SESSION_TOKEN: "",
  });
  return {
    bucket,
    spec: `s3://${bucket}`,
    environment: environmentVia(s3.endpoint),
    client,
    environmentVia,
    [Symbol.asyncDispose]: async () => {
      try {
        if (s3.kind === "given") await removeBucket(client, bucket);
      } finally {
        client.destroy();
      }
    },
  };
}

export function makeClient(s3: S3Endpoint): S3Client {
  return new S3Client({
    endpoint: s3.endpoint,
    region: s3.region,
    credentials: { accessKeyId: s3.accessKeyId, secretAccessKey: s3.secretAccessKey },
    forcePathStyle: true,
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
  });
}

async function removeBucket(client: S3Client, bucket: string): Promise<void> {
  for (;;) {
    const page = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
    const keys = (page.Contents ?? []).flatMap(({ Key }) => (Key === undefined ? [] : [Key]));
    if (keys.length === 0) break;
    for (const key of keys) await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }));
  }
  await client.send(new DeleteBucketCommand({ Bucket: bucket }));
}
