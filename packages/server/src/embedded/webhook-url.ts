/** Whether a webhook may go to a URL, as the embeddable server judges it: loopback is allowed. */
import { checkWebhookUrl } from "../webhook/webhook-url.ts";

/** Judges the URL by its text alone. */
export function validateWebhookUrl(rawUrl: string): { ok: true } | { ok: false; message: string } {
  const verdict = checkWebhookUrl(rawUrl, { allowLoopback: true });
  return verdict.kind === "ok" ? { ok: true } : { ok: false, message: verdict.detail };
}
