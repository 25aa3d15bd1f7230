export * from "./brand.ts";
export * from "./errors.ts";
export * from "./extent.ts";
export * from "./limits.ts";
export * from "./ports.ts";
export * from "./stream-state.ts";
