/** A shell in an empty directory that has both names of the command on its path, and nothing of the caller's settings. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { COLDBROOK_BIN } from "../process/coldbrook.ts";
import { within } from "../process/until.ts";

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const LINE_BOUND_MS = 60_000;

export class Shell {
  readonly directory: string;
  readonly #environment: Readonly<Record<string, string>>;

  private constructor(directory: string, environment: Readonly<Record<string, string>>) {
    this.directory = directory;
    this.#environment = environment;
  }

  static async open(environment: Readonly<Record<string, string>>): Promise<Shell> {
    const directory = await mkdtemp(path.join(tmpdir(), "coldbrook-cli-"));
    for (const name of ["coldbrook", "durable-stream"]) {
      await symlink(path.join(path.dirname(COLDBROOK_BIN), `${name}.js`), path.join(directory, name));
    }
    const search = [directory, path.dirname(process.execPath), process.env["PATH"] ?? ""].join(path.delimiter);
    return new Shell(directory, { PATH: search, HOME: directory, ...environment });
  }

  /** Runs the text as bash reads it. */
  async run(script: string): Promise<Outcome> {
    const bash = spawn("bash", ["--noprofile", "--norc", "-c", script], {
      cwd: this.directory,
      env: this.#environment,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    bash.stdout.on("data", (part: Buffer) => stdout.push(part));
    bash.stderr.on("data", (part: Buffer) => stderr.push(part));
    try {
      const [code] = (await within(script, LINE_BOUND_MS, once(bash, "close"))) as [number | null];
      return { code, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
    } finally {
      bash.kill("SIGKILL");
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}
