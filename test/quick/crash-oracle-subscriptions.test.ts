import { describe, expect, test } from "vitest";
import { generateKeyPairSync, sign } from "node:crypto";
import { SubscriptionSlot } from "../crash/subscriptions/book.ts";
import { FollowedStream, StreamLife } from "../crash/subscriptions/followed-stream.ts";
import { SubscriptionLife, type ShownLink, type SubscriptionPlan } from "../crash/subscriptions/subscription-life.ts";
import { Leases, type Hold } from "../crash/subscriptions/leases.ts";
import { settleStream, settleSubscription } from "../crash/subscriptions/oracle.ts";
import { WebhookKeys, type Jwk } from "../crash/subscriptions/receiver.ts";
import { offsetOf } from "../process/stored-bytes.ts";

/** Each fault of subscriptions that the oracle is there for, put before it. */

const GENERATION = 5;
const at = (position: number): string => offsetOf(GENERATION, position);
const PLAN: SubscriptionPlan = { type: "pull-wake", pattern: "in/*", streams: ["by/hand"], leaseTtlMs: 1_000 };
const CHANNEL = { wakeRoot: "wake", hookRoot: "http://127.0.0.1:1/hook" };

function subscription(): SubscriptionLife {
  const life = new SubscriptionLife("sub", 1, PLAN, CHANNEL);
  life.created = "yes";
  life.confirmedAt = 10;
  return life;
}

/** A stream that began after the subscription, and its tail. */
function stream(path: string, tail = 100): StreamLife {
  const life = new StreamLife(path, 20);
  life.created = "yes";
  life.learn(at(tail), "append");
  return life;
}

const explicit: ShownLink = { path: "by/hand", link_type: "explicit", acked_offset: "-1" };
const glob = (acked: string, path = "in/a"): ShownLink => ({ path, link_type: "glob", acked_offset: acked });

function check(life: SubscriptionLife, links: readonly ShownLink[], streams = [stream("in/a")]): void {
  const byPath = new Map(streams.map((one) => [one.path, one]));
  life.checkLinks([explicit, ...links], life.floors(), (path) => byPath.get(path), "GET");
}

describe("cursors", () => {
  test("one that stands where its acks were is right, and so is one that nobody acked", () => {
    const life = subscription();
    check(life, [glob("-1")]);
    const acks = [{ stream: "in/a", offset: at(60) }];
    life.acking(acks);
    check(life, [glob("-1")]);
    life.acked(acks);
    check(life, [glob(at(60))]);
  });

  test("an acknowledged ack that is gone is found", () => {
    const life = subscription();
    life.acking([{ stream: "in/a", offset: at(60) }]);
    life.acked([{ stream: "in/a", offset: at(60) }]);
    expect(() => check(life, [glob(at(40))])).toThrow(/went back/);
  });

  test("a cursor behind what was shown before is found, though its ack was never answered", () => {
    const life = subscription();
    life.acking([{ stream: "in/a", offset: at(60) }]);
    check(life, [glob(at(60))]);
    expect(() => check(life, [glob("-1")])).toThrow(/went back/);
  });

  test("a cursor beyond the tail is found", () => {
    const life = subscription();
    life.acking([{ stream: "in/a", offset: at(200) }]);
    expect(() => check(life, [glob(at(200))])).toThrow(/beyond the tail/);
  });

  test("a cursor that nobody moved so far is found: what it passed over wakes nobody", () => {
    const life = subscription();
    life.acking([{ stream: "in/a", offset: at(60) }]);
    expect(() => check(life, [glob(at(80))])).toThrow(/never woken/);
  });

  test("a link of a stream that was there before may begin anywhere, but only once", () => {
    const life = subscription();
    const old = new StreamLife("in/a", 1);
    old.created = "yes";
    old.learn(at(100), "append");
    check(life, [glob(at(70))], [old]);
    expect(() => check(life, [glob(at(90))], [old])).toThrow(/never woken/);
  });

  test("a link that was asked for again may not begin behind what came after its answer", () => {
    const life = subscription();
    life.unlinking("by/hand");
    life.explicit.set("by/hand", "no");
    life.linking("by/hand");
    life.linked("by/hand", at(50));
    const shown = { ...explicit, acked_offset: at(90) };
    const known = stream("by/hand");
    expect(() => life.checkLinks([shown], life.floors(), () => known, "GET")).toThrow(/never woken/);
  });

  test("the cursor of a deleted stream's successor begins anew", () => {
    const life = subscription();
    life.acking([{ stream: "in/a", offset: at(60) }]);
    life.acked([{ stream: "in/a", offset: at(60) }]);
    const next = new StreamLife("in/a", 30);
    next.created = "yes";
    next.learn(offsetOf(9, 10), "append");
    check(life, [glob("-1")], [next]);
  });
});

describe("links", () => {
  test("one to a stream that was never followed is found", () => {
    expect(() => check(subscription(), [glob("-1", "out/a")])).toThrow(/never followed/);
    expect(() => check(subscription(), [glob("-1", "in/deep/a")])).toThrow(/never followed/);
  });

  test("an explicit one that is gone, or has become the pattern's, is found", () => {
    const life = subscription();
    expect(() => life.checkLinks([], life.floors(), () => undefined, "GET")).toThrow(/is gone/);
    const changed = { ...explicit, link_type: "glob" as const };
    expect(() => life.checkLinks([changed], life.floors(), () => undefined, "GET")).toThrow(/pattern's/);
  });

  test("an explicit one that was taken away and is there is found", () => {
    const life = subscription();
    life.explicit.set("by/hand", "no");
    expect(() => check(life, [])).toThrow(/is explicit/);
  });

  test("a wake that tells of a stream it never followed, or of work that is none, is found", () => {
    const told = { ...glob(at(100)), tail_offset: at(100), has_pending: true };
    const life = subscription();
    expect(() => life.toldOf([{ ...told, path: "out/a" }], () => undefined, "wake")).toThrow(/never followed/);
    expect(() => life.toldOf([told], () => undefined, "wake")).toThrow(/has_pending/);
  });
});

/** Worker `one` with generation 1, its lease lasting to 1,000 ms at least. */
function leased(): { leases: Leases; hold: Hold } {
  const leases = new Leases("sub", 1_000);
  const hold = leases.granted({ generation: 1, wakeId: "w1", worker: "one", sentAtMs: 0, answeredAtMs: 5 }, 0);
  return { leases, hold };
}

const second = (answeredAtMs: number): Parameters<Leases["granted"]>[0] => ({
  generation: 2,
  wakeId: "w2",
  worker: "two",
  sentAtMs: answeredAtMs - 5,
  answeredAtMs,
});

describe("leases", () => {
  test("a claim behind the other's lease, its end or its unanswered end is right", () => {
    leased().leases.granted(second(1_000), 1);
    const { leases, hold } = leased();
    leases.sending(hold, 10, true);
    leases.granted(second(20), 1);
  });

  test("a claim within another's lease is found", () => {
    expect(() => leased().leases.granted(second(999), 1)).toThrow(/two workers hold one lease/);
  });

  test("a claim within a lease that a heartbeat extended is found, whichever answer comes first", () => {
    const early = leased();
    early.leases.accepted(early.hold, early.leases.sending(early.hold, 700, false), false);
    expect(() => early.leases.granted(second(1_600), 1)).toThrow(/two workers hold one lease/);
    const late = leased();
    const sent = late.leases.sending(late.hold, 700, false);
    late.leases.granted(second(1_600), 1);
    expect(() => late.leases.accepted(late.hold, sent, false)).toThrow(/two workers hold one lease/);
  });

  test("two claims of one generation are found", () => {
    const { leases } = leased();
    expect(() => leases.granted({ ...second(2_000), generation: 1, wakeId: "w1" }, 1)).toThrow(/two workers hold/);
  });

  test("a generation that goes back is found", () => {
    const { leases } = leased();
    leases.see(7);
    expect(() => leases.granted(second(2_000), 7)).toThrow(/went backwards/);
  });

  test("one wake under two numbers, and one number for two wakes, are found", () => {
    const { leases } = leased();
    expect(() => leases.hold(1, "w9", "two", 2_000)).toThrow(/and wake w9 too/);
    expect(() => leases.hold(2, "w1", "two", 2_000)).toThrow(/and 2 too/);
  });

  test("an ack that is accepted although a newer wake had been told is found", () => {
    const { leases, hold } = leased();
    leases.see(2);
    const sent = leases.sending(hold, 10, false);
    expect(() => leases.accepted(hold, sent, false)).toThrow(/not fenced/);
  });

  test("an ack that is accepted behind the acknowledged end, or behind FENCED, is found", () => {
    const { leases, hold } = leased();
    leases.accepted(hold, leases.sending(hold, 10, true), true);
    const late = leases.sending(hold, 20, false);
    expect(() => leases.accepted(hold, late, false)).toThrow(/was over/);
    const other = leased();
    other.leases.fenced(other.hold, 1_500);
    const sent = other.leases.sending(other.hold, 1_600, false);
    expect(() => other.leases.accepted(other.hold, sent, false)).toThrow(/was over/);
  });

  test("a holder that is fenced before its lease ran out is found", () => {
    const { leases, hold } = leased();
    expect(() => leases.fenced(hold, 999)).toThrow(/1 ms of its lease left/);
    leases.fenced(hold, 1_000);
  });
});

function slot(): SubscriptionSlot {
  const one = new SubscriptionSlot("sub", PLAN);
  one.current = subscription();
  return one;
}

describe("what is there", () => {
  test("an unanswered create or delete may have happened or not", () => {
    for (const isThere of [true, false]) {
      const created = slot();
      created.current!.created = "maybe";
      settleSubscription(created, isThere, 30);
      expect(created.current?.isThere ?? false).toBe(isThere);
      const deleted = slot();
      deleted.current!.deleted = "maybe";
      settleSubscription(deleted, isThere, 30);
      expect(deleted.current?.isThere ?? false).toBe(isThere);
    }
  });

  test("a subscription that is gone is found", () => {
    expect(() => settleSubscription(slot(), false, 30)).toThrow(/is gone/);
  });

  test("a deleted subscription that comes back is found", () => {
    const one = slot();
    one.current!.deleted = "yes";
    one.end();
    settleSubscription(one, false, 30);
    expect(one.past[0]?.buried).toBe(true);
    expect(() => settleSubscription(one, true, 31)).toThrow(/came back/);
  });

  test("a deleted subscription that comes back is found, also when the kill came right with the delete's answer", () => {
    const one = slot();
    one.current!.deleted = "yes";
    expect(() => settleSubscription(one, true, 30)).toThrow(/delete was acknowledged/);
  });

  test("a stream that is gone, came back or lost a tail that a wake told is found", () => {
    const followed = new FollowedStream("in/a", true);
    followed.current = stream("in/a");
    expect(() => settleStream(followed, at(90))).toThrow(/was told/);
    expect(() => settleStream(followed, null)).toThrow(/is gone/);
    followed.current = undefined;
    expect(() => settleStream(followed, at(90))).toThrow(/though deleted/);
  });
});

describe("webhooks", () => {
  function keyPair(kid: string): { jwk: Jwk; signed: (seconds: number, body: string) => string } {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const signed = (seconds: number, body: string): string => {
      const signature = sign(null, Buffer.from(`${seconds}.${body}`), privateKey).toString("base64url");
      return `t=${seconds},kid=${kid},ed25519=${signature}`;
    };
    return { jwk: { ...publicKey.export({ format: "jwk" }), kid }, signed };
  }

  test("a signature by another key, of another body or of long ago is found", () => {
    const keys = new WebhookKeys();
    const { jwk, signed } = keyPair("ds_1");
    keys.learn([jwk]);
    const body = Buffer.from("{}");
    keys.check(signed(1_000, "{}"), body, 1_000_000);
    expect(() => keys.check(undefined, body, 1_000_000)).toThrow(/none of the keys/);
    expect(() => keys.check(signed(1_000, "{ }"), body, 1_000_000)).toThrow(/not of its body/);
    expect(() => keys.check(signed(500, "{}"), body, 1_000_000)).toThrow(/long ago/);
    expect(() => keys.check(keyPair("ds_1").signed(1_000, "{}"), body, 1_000_000)).toThrow(/not of its body/);
    expect(() => keys.check(keyPair("ds_2").signed(1_000, "{}"), body, 1_000_000)).toThrow(/none of the keys/);
  });

  test("keys that a restart changed are found", () => {
    const keys = new WebhookKeys();
    const { jwk } = keyPair("ds_1");
    keys.learn([jwk]);
    keys.learn([jwk]);
    expect(() => keys.learn([keyPair("ds_1").jwk])).toThrow(/changed/);
    expect(() => new WebhookKeys().learn([])).toThrow(/empty/);
  });
});
