// @ts-check
/** The parent's hold on a child process that performs jobs sent over IPC: the load generator, or the direct reader. */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";

const JOB_MS_MAX = 900_000;

export class JobProcess {
  #child;
  #lastId = 0;
  /** @type {Map<number, {resolve: (result: any) => void, reject: (error: Error) => void, timer: NodeJS.Timeout}>} */
  #open = new Map();

  /** @param {string} file module beside this one @param {NodeJS.ProcessEnv} [env] */
  constructor(file, env = process.env) {
    this.#child = fork(fileURLToPath(new URL(file, import.meta.url)), [], { stdio: "inherit", env });
    this.#child.on("message", (/** @type {{id: number, result?: unknown, error?: string}} */ answer) => {
      const job = this.#open.get(answer.id);
      if (job === undefined) return;
      this.#open.delete(answer.id);
      clearTimeout(job.timer);
      if (answer.error === undefined) job.resolve(answer.result);
      else job.reject(new Error(answer.error));
    });
    this.#child.on("exit", (code, signal) => {
      for (const job of this.#open.values()) {
        clearTimeout(job.timer);
        job.reject(new Error(`${file} ended (${signal ?? code})`));
      }
      this.#open.clear();
    });
  }

  /**
   * Sends one job and waits for its result, at most 15 minutes.
   * @template R
   * @param {object} job without its id
   * @returns {Promise<R>}
   */
  run(job) {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#open.delete(id);
        reject(new Error("a job took more than 15 minutes"));
      }, JOB_MS_MAX);
      this.#open.set(id, { resolve, reject, timer });
      this.#child.send({ ...job, id }, (error) => {
        if (error === null) return;
        clearTimeout(timer);
        this.#open.delete(id);
        reject(error);
      });
    });
  }

  /** Process id, to look at what it uses. */
  get pid() {
    return this.#child.pid ?? 0;
  }

  end() {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill();
  }
}
