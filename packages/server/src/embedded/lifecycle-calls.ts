/** Calls the hooks of the embeddable server, one after the other. What a hook throws goes to the log: the stream is there, or gone, all the same. */
import type { StreamState } from "@coldbrook/core";
import type { LifecycleHooks as HttpHooks } from "../http/writes.ts";
import type { FileBackedStreamStore } from "./file-backed-stream-store.ts";
import { storePath } from "./store-path.ts";
import type { StreamStore } from "./stream-store.ts";
import type { LifecycleHooks, StreamLifecycleEvent, StreamLifecycleHook, TestServerOptions } from "./types.ts";

type HookOptions = Pick<TestServerOptions, "onStreamCreated" | "onStreamDeleted" | "hooks">;

export class LifecycleCalls implements HttpHooks {
  /** Looked at at each call: programs set hooks on it while the server runs. */
  readonly #options: HookOptions;
  readonly #report: (error: unknown, event: StreamLifecycleEvent) => void;

  constructor(options: HookOptions, report: (error: unknown, event: StreamLifecycleEvent) => void) {
    this.#options = options;
    this.#report = report;
  }

  /** Tells those hooks that want to know which server they belong to. */
  attach(store: StreamStore | FileBackedStreamStore, url: string): void {
    for (const hooks of listOf(this.#options.hooks)) {
      if (typeof hooks === "object" && "attach" in hooks) hooks.attach(store, url);
    }
  }

  created({ identity }: StreamState): Promise<void> {
    const { path, config } = identity;
    return this.#call({
      type: "created",
      path: storePath(path),
      contentType: config.contentType,
      timestamp: Date.now(),
    });
  }

  deleted(path: string): Promise<void> {
    return this.#call({ type: "deleted", path: storePath(path), timestamp: Date.now() });
  }

  async #call(event: StreamLifecycleEvent): Promise<void> {
    const name = event.type === "created" ? "onStreamCreated" : "onStreamDeleted";
    const calls: (StreamLifecycleHook | undefined)[] = [this.#options[name]];
    for (const hooks of listOf(this.#options.hooks)) calls.push(typeof hooks === "function" ? hooks : hooks[name]);
    for (const hook of calls) {
      try {
        await hook?.(event);
      } catch (error) {
        this.#report(error, event);
      }
    }
  }
}

function listOf(hooks: TestServerOptions["hooks"]): readonly LifecycleHooks[] {
  if (hooks === undefined) return [];
  return Array.isArray(hooks) ? (hooks as readonly LifecycleHooks[]) : [hooks as LifecycleHooks];
}
