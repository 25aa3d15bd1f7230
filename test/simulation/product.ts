/** The parts of the built server that a simulation runs, loaded once the hooks are in place. */
type OpenShard = typeof import("../../packages/server/dist/open-shard.js");
type DataDirs = typeof import("../../packages/server/dist/data-dir.js");
type Keys = typeof import("../../packages/server/dist/subscriptions/server-keys.js");
type Checks = typeof import("../../packages/server/dist/cli/check.js");
type Tiering = typeof import("@coldbrook/tiering");
type Core = typeof import("@coldbrook/core");

export interface Product {
  readonly openShard: OpenShard["openShard"];
  readonly openDataDir: DataDirs["openDataDir"];
  readonly openKeys: Keys["openKeys"];
  readonly check: Checks["check"];
  readonly openObjectStore: Tiering["openObjectStore"];
  readonly core: Core;
}

/** `packages` is the URL of the directory of the packages, with a slash at its end. */
export async function loadProduct(packages: string): Promise<Product> {
  const load = <T>(file: string): Promise<T> => import(packages + file) as Promise<T>;
  const { openShard } = await load<OpenShard>("server/dist/open-shard.js");
  const { openDataDir } = await load<DataDirs>("server/dist/data-dir.js");
  const { openKeys } = await load<Keys>("server/dist/subscriptions/server-keys.js");
  const { check } = await load<Checks>("server/dist/cli/check.js");
  const { openObjectStore } = await load<Tiering>("tiering/dist/index.js");
  const core = await load<Core>("core/dist/index.js");
  return { openShard, openDataDir, openKeys, check, openObjectStore, core };
}
