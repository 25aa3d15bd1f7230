/**
 * Hooks that keep a registry: a JSON stream with one state event for each stream made and deleted, which any client can read
 * to learn what streams there are. The events are those of the State Protocol: `insert` and `delete` of type `stream`.
 */
import type { FileBackedStreamStore } from "./file-backed-stream-store.ts";
import type { StreamStore } from "./stream-store.ts";
import type { AttachableHooks, StreamLifecycleEvent, StreamLifecycleHook } from "./types.ts";

/** Where the streams of the usual set-up live; their names in the registry go without it. */
const STREAMS = "/v1/stream/";
const REGISTRY_PATH = "/v1/stream/__registry__";
const JSON_TYPE = "application/json";

type AnyStore = StreamStore | FileBackedStreamStore;

export interface RegistryOptions {
  /** Where the registry is: a URL path, or a name below `/v1/stream/`. */
  readonly registryPath?: string | undefined;
}

export interface RegistryHooks {
  onStreamCreated: StreamLifecycleHook;
  onStreamDeleted: StreamLifecycleHook;
}

/** Hooks for a server that runs: its store, and its URL without a slash at the end. */
export function createRegistryHooks(store: AnyStore, serverUrl: string): RegistryHooks;
/** Hooks for a server's `hooks` option; they begin to work when it starts. */
export function createRegistryHooks(options?: RegistryOptions): AttachableHooks;
export function createRegistryHooks(first: AnyStore | RegistryOptions = {}, serverUrl?: string): AttachableHooks {
  const isStore = serverUrl !== undefined;
  const registry = new Registry(isStore ? REGISTRY_PATH : pathOf((first as RegistryOptions).registryPath));
  if (isStore) registry.attach(first as AnyStore);
  return {
    onStreamCreated: (event) => registry.created(event),
    onStreamDeleted: (event) => registry.deleted(event),
    attach: (store) => registry.attach(store),
  };
}

function pathOf(registryPath: string | undefined): string {
  if (registryPath === undefined) return REGISTRY_PATH;
  return registryPath.startsWith("/") ? registryPath : `${STREAMS}${registryPath}`;
}

class Registry {
  readonly #path: string;
  #store: AnyStore | null = null;

  constructor(path: string) {
    this.#path = path;
  }

  attach(store: AnyStore): void {
    this.#store = store;
  }

  async created(event: StreamLifecycleEvent): Promise<void> {
    const name = nameOf(event.path);
    const value = {
      path: name,
      contentType: event.contentType ?? "application/octet-stream",
      createdAt: event.timestamp,
    };
    await this.#record({ type: "stream", key: name, value, headers: { operation: "insert" } });
  }

  async deleted(event: StreamLifecycleEvent): Promise<void> {
    await this.#record({ type: "stream", key: nameOf(event.path), headers: { operation: "delete" } });
  }

  async #record(event: object): Promise<void> {
    const store = this.#store;
    if (store === null)
      throw new Error("registry hooks work once their server has started: pass them as its hooks option");
    // The registry is a stream as any other, so it is the first that it lists.
    if (!store.has(this.#path)) {
      await store.create(this.#path, { contentType: JSON_TYPE });
      await this.created({ type: "created", path: this.#path, contentType: JSON_TYPE, timestamp: Date.now() });
    }
    await store.append(this.#path, Buffer.from(JSON.stringify(event)), { contentType: JSON_TYPE });
  }
}

function nameOf(path: string): string {
  return path.startsWith(STREAMS) ? path.slice(STREAMS.length) : path;
}
