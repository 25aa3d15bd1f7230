// @ts-check
/** The object store of the cold cases: the server's own default directory, or a fresh prefix of an S3 bucket. */
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";

/**
 * @typedef {object} BenchStore
 * @property {string} name
 * @property {readonly string[]} flags
 * @property {NodeJS.ProcessEnv} env
 * @property {string | null} endpoint
 * @property {string | null} bucket null for the directory store
 * @property {string} prefix ends with a slash, or is empty
 */

/**
 * @param {import("./settings.js").Settings} settings
 * @param {string} purpose
 * @returns {Promise<BenchStore>}
 */
export async function storeOf({ s3, bucket }, purpose) {
  if (s3 === null) return { name: "directory", flags: [], env: process.env, endpoint: null, bucket: null, prefix: "" };
  const client = openClient(s3);
  try {
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
  } catch (error) {
    const name = error instanceof Error ? error.name : "";
    if (name !== "BucketAlreadyOwnedByYou" && name !== "BucketAlreadyExists") throw error;
  } finally {
    client.destroy();
  }
  const prefix = `bench-${Date.now()}-${process.pid}-${purpose}`;
  return {
    name: "S3",
    flags: ["--store", `s3://${bucket}/${prefix}`],
    env: endpointEnv(s3),
    endpoint: s3,
    bucket,
    prefix: `${prefix}/`,
  };
}

/** The environment of a server that shall use this endpoint. @param {string} endpoint @returns {NodeJS.ProcessEnv} */
export function endpointEnv(endpoint) {
  return { ...process.env, AWS_ENDPOINT_URL_S3: endpoint, AWS_REGION: process.env["AWS_REGION"] ?? "us-east-1" };
}

/** @param {string} endpoint @returns {S3Client} */
export function openClient(endpoint) {
  return new S3Client({
    endpoint,
    region: process.env["AWS_REGION"] ?? "us-east-1",
    forcePathStyle: true,
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
  });
}
