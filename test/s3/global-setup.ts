import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { TestProject } from "vitest/node";
import type { RunningS3 } from "./endpoint.ts";
import { findMinio, startMinio } from "./minio-binary.ts";

const CONTAINER_IMAGE = "minio/minio:RELEASE.2025-09-07T16-13-09Z";
const CACHE_DIRECTORY: string = fileURLToPath(new URL("../../.cache/bin", import.meta.url));
const DOCKER_ANSWERS_MS = 5_000;
const NONE =
  "S3: NO SERVER TO TEST AGAINST, SO EVERY S3 TEST IS SKIPPED. Start Docker, put `minio` or `go` on PATH, or set TEST_S3_ENDPOINT with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.";

/** Provides `s3` to the tests: the server that is given, or else one for this run alone. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const running = await start();
  if (running === undefined) {
    if ((process.env["CI"] ?? "") !== "") throw new Error(NONE);
    say(`\n${NONE}\n`);
    project.provide("s3", null);
    return async () => {};
  }
  say(`S3: testing against ${running.version} at ${running.endpoint.endpoint} (${running.endpoint.kind})`);
  project.provide("s3", running.endpoint);
  return running.stop;
}

async function start(): Promise<RunningS3 | undefined> {
  const given = process.env["TEST_S3_ENDPOINT"];
  if (given !== undefined && given !== "") return await useGiven(given);
  if (await dockerAnswers()) {
    try {
      return await startContainer();
    } catch (error) {
      say(`S3: Docker answers but the MinIO container does not start (${String(error)}); looking for a binary`);
    }
  }
  const binary = await findMinio(CACHE_DIRECTORY, say);
  return binary === undefined ? undefined : await startMinio(binary);
}

async function useGiven(given: string): Promise<RunningS3> {
  const accessKeyId = process.env["AWS_ACCESS_KEY_ID"];
  const secretAccessKey = process.env["AWS_SECRET_ACCESS_KEY"];
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    throw new Error("TEST_S3_ENDPOINT is set: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY as well");
  }
  const endpoint = given.replace(/\/$/, "");
  const answer = await fetch(endpoint).catch((error: unknown) => {
    throw new Error(`TEST_S3_ENDPOINT ${endpoint} does not answer`, { cause: error });
  });
  await answer.body?.cancel();
  const region = process.env["AWS_REGION"] ?? "us-east-1";
  return {
    endpoint: { endpoint, accessKeyId, secretAccessKey, region, kind: "given" },
    version: answer.headers.get("server") ?? "a server that does not say its name",
    stop: async () => {},
  };
}

async function dockerAnswers(): Promise<boolean> {
  return await promisify(execFile)("docker", ["version", "--format", "{{.Server.Version}}"], {
    timeout: DOCKER_ANSWERS_MS,
  }).then(
    ({ stdout }) => stdout.trim() !== "",
    () => false,
  );
}

async function startContainer(): Promise<RunningS3> {
  const { MinioContainer } = await import("@testcontainers/minio");
  const container = await new MinioContainer(CONTAINER_IMAGE).start();
  return {
    endpoint: {
      endpoint: container.getConnectionUrl(),
      accessKeyId: container.getUsername(),
      secretAccessKey: container.getPassword(),
      region: "us-east-1",
      kind: "container",
    },
    version: CONTAINER_IMAGE,
    stop: async () => void (await container.stop()),
  };
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
