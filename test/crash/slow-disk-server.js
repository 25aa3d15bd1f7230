// The server on a disk whose syncs take up to SYNC_MS_MAX: what waits for its commit waits long enough for a kill to find it there.
import fs from "node:fs";
import { main } from "../../packages/server/dist/cli/main.js";

const SYNC_MS_MAX = 15;
const sync = fs.fdatasync;

fs.fdatasync = Object.assign(
  /** @param {number} fd @param {fs.NoParamCallback} done */
  (fd, done) => void setTimeout(() => sync(fd, done), Math.random() * SYNC_MS_MAX),
  { __promisify__: sync.__promisify__ },
);

await main(process.argv.slice(2));
