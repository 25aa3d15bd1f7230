/** Coldbrook inside of another program: any settings, by their names in the table of settings, and the table's defaults for the rest. */
import { startColdbrook } from "../compose.ts";
import type { Coldbrook, Components } from "../compose.ts";
import { readSettings, SettingError, SETTINGS } from "../settings.ts";
import type { Settings } from "../settings.ts";

/**
 * Resolves when the server serves. The environment is not read.
 * @throws SettingError that names the setting which cannot be used; Error that says which file or promise of the store stands in the way
 */
export async function createColdbrook(
  settings: { readonly [Name in keyof Settings]?: Settings[Name] | undefined } = {},
  components: Components = {},
): Promise<Coldbrook> {
  return startColdbrook(readSettings(flagsOf(settings), {}), components);
}

/** Checked where the command line's are, and with the same words. */
function flagsOf(settings: Readonly<Record<string, unknown>>): string[] {
  const flags: string[] = [];
  for (const [name, value] of Object.entries(settings)) {
    if (value === undefined) continue;
    if (!Object.hasOwn(SETTINGS, name)) {
      throw new SettingError(`${name} is not a setting (known: ${Object.keys(SETTINGS).join(", ")})`);
    }
    const { flag, kind } = SETTINGS[name as keyof Settings];
    flags.push(`--${flag}=${kind === "switch" && typeof value === "boolean" ? (value ? "on" : "off") : String(value)}`);
  }
  return flags;
}
