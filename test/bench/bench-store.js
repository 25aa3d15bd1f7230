// @ts-check
/**
 * The object store of the cold case: a fresh prefix of a bucket, on the S3 endpoint that was given or on a MinIO of our
 * own, and the server's own default directory where there is neither.
 */
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { progress } from "./bench-run.js";
import { findMinio, startMinio } from "./minio.js";

/** @typedef {import("./minio.js").MinioKeys} MinioKeys */

/**
 * @typedef {object} BenchStore
 * @property {string} name
 * @property {readonly string[]} flags
 * @property {NodeJS.ProcessEnv} env of the server and of who reads the store directly
 * @property {string | null} endpoint null for the directory store
 * @property {string | null} bucket null for the directory store
 * @property {string} prefix ends with a slash, or is empty
 * @property {() => Promise<void>} close
 */

/**
 * @param {import("./settings.js").Settings} settings
 * @param {string} purpose
 * @returns {Promise<BenchStore>}
 */
export async function openStore({ s3, bucket }, purpose) {
  if (s3 !== null) {
    return { ...(await openBucket(s3, null, bucket, purpose)), name: "S3", close: async () => {} };
  }
  const binary = await findMinio();
  if (binary === null) {
    progress("! no MinIO binary and no --s3: the cold case reads the directory store");
    const nothing = { endpoint: null, bucket: null, prefix: "", flags: [], env: process.env };
    return { ...nothing, name: "directory", close: async () => {} };
  }
  const minio = await startMinio(binary);
  try {
    const opened = await openBucket(minio.endpoint, minio.keys, bucket, purpose);
    return { ...opened, name: "MinIO", close: minio.stop };
  } catch (error) {
    await minio.stop();
    throw error;
  }
}

/**
 * @param {string} endpoint @param {MinioKeys | null} keys null: those of the environment @param {string} bucket @param {string} purpose
 * @returns {Promise<Omit<BenchStore, "name" | "close">>}
 */
async function openBucket(endpoint, keys, bucket, purpose) {
  const region = process.env["AWS_REGION"] ?? "us-east-1";
  const env = { ...process.env, ...keys, AWS_ENDPOINT_URL_S3: endpoint, AWS_REGION: region };
  const client = openClient(endpoint, keys);
  try {
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
  } catch (error) {
    const name = error instanceof Error ? error.name : "";
    if (name !== "BucketAlreadyOwnedByYou" && name !== "BucketAlreadyExists") throw error;
  } finally {
    client.destroy();
  }
  const prefix = `bench-${Date.now()}-${process.pid}-${purpose}`;
  return { flags: ["--store", `s3://${bucket}/${prefix}`], env, endpoint, bucket, prefix: `${prefix}/` };
}

/** @param {string} endpoint @param {MinioKeys | null} keys null: those of the environment @returns {S3Client} */
export function openClient(endpoint, keys) {
  return new S3Client({
    endpoint,
    region: process.env["AWS_REGION"] ?? "us-east-1",
    forcePathStyle: true,
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    ...(keys === null
      ? {}
      : { credentials: { accessKeyId: keys.AWS_ACCESS_KEY_ID, secretAccessKey: keys.AWS_SECRET_ACCESS_KEY } }),
  });
}
