/** One run per key at a time: whoever asks while it is under way shares its promise, its value or its error. */
export class SingleFlight<Value> {
  readonly #flights = new Map<string, Promise<Value>>();

  /** Keys under way. */
  get size(): number {
    return this.#flights.size;
  }

  /** Joins the run of `key`, or begins it with `start`. Rejects as `start` does, for everyone who shared it. */
  run(key: string, start: () => Promise<Value>): Promise<Value> {
    const joined = this.#flights.get(key);
    if (joined !== undefined) return joined;
    const flight = Promise.resolve().then(start);
    this.#flights.set(key, flight);
    const land = (): void => {
      this.#flights.delete(key);
    };
    // Both outcomes are handled here, so a run whose readers all went away rejects without anyone to blame.
    flight.then(land, land);
    return flight;
  }
}
