/** What a server adds to an engine's subscriptions: its keys, its deliveries, and the operations under its own URL. */
import type { Clock, Random } from "@coldbrook/core";
import type { Engine } from "../engine/engine.ts";
import type { SubscriptionContext } from "../http/subscriptions.ts";
import { WebhookClient } from "../webhook/webhook-client.ts";
import { jwkOf } from "../webhook/webhook-signer.ts";
import { BodyReceiver } from "../http/body.ts";
import { Deliveries } from "./deliveries.ts";
import type { DeliveriesPorts } from "./deliveries.ts";
import type { ServerKeys } from "./server-keys.ts";
import type { SubscriptionLog } from "./subscriptions.ts";

/** Bytes of a request's body. */
const BODY_BYTES_MAX = 256 * 1024;

export interface SubscriptionHostOptions {
  readonly engine: Engine;
  readonly keys: ServerKeys;
  /** Origin and path of the control APIs as workers reach them, without a slash at its end. */
  readonly controlUrl: string;
  /** False: no webhook is called, and none may be subscribed. */
  readonly webhooks: boolean;
  readonly webhookLoopback: boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: SubscriptionLog;
  /** In place of the one that calls out. */
  readonly client?: DeliveriesPorts["client"];
}

export class SubscriptionHost {
  readonly context: SubscriptionContext;
  readonly deliveries: Deliveries | null;

  constructor(options: SubscriptionHostOptions) {
    const { engine, keys, controlUrl, webhooks, webhookLoopback: allowLoopback } = options;
    const signing = { kid: keys.signing.kid, jwksUrl: `${controlUrl}/jwks.json` };
    this.context = {
      service: engine.subscriptions.service({ keys, signing }),
      webhooks: webhooks ? { allowLoopback } : null,
      jwks: { keys: [jwkOf(keys.signing)] },
      bodies: new BodyReceiver(BODY_BYTES_MAX),
      facts: () => ({ webhooksActive: this.deliveries?.active ?? 0, webhooksWaiting: this.deliveries?.waiting ?? 0 }),
    };
    const client = options.client ?? new WebhookClient({ allowLoopback });
    this.deliveries = webhooks ? new Deliveries({ ...options, subscriptions: engine.subscriptions, client }) : null;
  }

  /** Calls off deliveries; the next start takes them up. */
  async close(): Promise<void> {
    await this.deliveries?.close();
  }
}
