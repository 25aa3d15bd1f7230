import { describe, expect, it } from "vitest";
import { SingleFlight } from "./single-flight.ts";

const fail = (): Promise<number> => {
  throw new Error("no");
};

describe("SingleFlight", () => {
  it("runs once for all who ask while it is under way, and again for the next", async () => {
    const flights = new SingleFlight<number>();
    let runs = 0;
    const start = async (): Promise<number> => {
      runs += 1;
      return runs;
    };
    expect(await Promise.all(Array.from({ length: 50 }, () => flights.run("a", start)))).toEqual(
      Array.from({ length: 50 }, () => 1),
    );
    expect(await flights.run("a", start)).toBe(2);
    expect(flights.size).toBe(0);
  });

  it("keeps different keys apart", async () => {
    const flights = new SingleFlight<string>();
    expect(await Promise.all([flights.run("a", async () => "a"), flights.run("b", async () => "b")])).toEqual([
      "a",
      "b",
    ]);
  });

  it("gives an error to everyone who shared the run, and forgets it", async () => {
    const flights = new SingleFlight<number>();
    const all = await Promise.allSettled([flights.run("a", fail), flights.run("a", fail)]);
    expect(all.map((one) => one.status)).toEqual(["rejected", "rejected"]);
    expect(await flights.run("a", async () => 7)).toBe(7);
  });

  it("an abandoned run that fails is no unhandled rejection", async () => {
    const unhandled: unknown[] = [];
    const listen = (reason: unknown): void => void unhandled.push(reason);
    process.on("unhandledRejection", listen);
    const flights = new SingleFlight<number>();
    void flights.run("a", () => Promise.reject(new Error("no")));
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((resolve) => setImmediate(resolve));
    process.off("unhandledRejection", listen);
    expect(unhandled).toEqual([]);
  });
});
