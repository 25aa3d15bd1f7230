export { main } from "./cli/main.ts";
export type { MainOptions } from "./cli/main.ts";
export { startColdbrook } from "./compose.ts";
export type { Coldbrook, Components } from "./compose.ts";
export { createColdbrook } from "./embedded/create-coldbrook.ts";
export {
  calculateCursor,
  DEFAULT_CURSOR_EPOCH,
  DEFAULT_CURSOR_INTERVAL_SECONDS,
  generateResponseCursor,
  handleCursorCollision,
} from "./embedded/cursor.ts";
export type { CursorOptions } from "./embedded/cursor.ts";
export { createFetchHandler } from "./embedded/fetch-handler.ts";
export type { FetchHandler, InProcessServer } from "./embedded/fetch-handler.ts";
export { FileBackedStreamStore } from "./embedded/file-backed-stream-store.ts";
export type { FileBackedStreamStoreOptions } from "./embedded/file-backed-stream-store.ts";
export { globMatch } from "./embedded/glob.ts";
export { decodeStreamPath, encodeStreamPath } from "./embedded/path-encoding.ts";
export { createRegistryHooks } from "./embedded/registry-hooks.ts";
export type { RegistryHooks, RegistryOptions } from "./embedded/registry-hooks.ts";
export { StreamStore } from "./embedded/stream-store.ts";
export type {
  SubscriptionCallbackRequest,
  SubscriptionCreateInput,
  SubscriptionError,
  SubscriptionErrorCode,
  SubscriptionLinkType,
  SubscriptionRecord,
  SubscriptionStatus,
  SubscriptionStreamInfo,
  SubscriptionStreamLink,
  SubscriptionType,
  SubscriptionWebhookConfig,
} from "./embedded/subscription-types.ts";
export { createDurableStreamServer, DurableStreamTestServer } from "./embedded/test-server.ts";
export type { DurableStreamTestServerClass } from "./embedded/test-server.ts";
export type {
  AppendOptions,
  AppendResult,
  AttachableHooks,
  CloseResult,
  CreateOptions,
  InjectedFault,
  LifecycleHooks,
  PendingLongPoll,
  ProducerCloseOptions,
  ProducerCloseResult,
  ProducerState,
  ProducerValidationResult,
  ReadResult,
  Stream,
  StreamLifecycleEvent,
  StreamLifecycleHook,
  StreamMessage,
  TestServerOptions,
  WaitResult,
} from "./embedded/types.ts";
export { validateWebhookUrl } from "./embedded/webhook-url.ts";
export { readSettings, SettingError, SETTINGS } from "./settings.ts";
export type { Settings, SettingRow } from "./settings.ts";
