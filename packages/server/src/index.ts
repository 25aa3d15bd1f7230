export { main } from "./cli/main.ts";
export type { MainOptions } from "./cli/main.ts";
export { startColdbrook } from "./compose.ts";
export type { Coldbrook, Components } from "./compose.ts";
export { readSettings, SettingError, SETTINGS } from "./settings.ts";
export type { Settings, SettingRow } from "./settings.ts";
