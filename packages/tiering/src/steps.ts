/**
 * Rules that need a look-up now and then, written once for both kinds of look-up: those that end in this very turn, as all do
 * when everything lies in memory, and those that must be awaited.
 */
export type Steps<T> = Generator<unknown, T, unknown>;

/** To be used as `yield* wait(…)`: the value, once it is there. */
export function* wait<V>(value: V | Promise<V>): Steps<V> {
  return (value instanceof Promise ? yield value : value) as V;
}

/** Runs the steps: without a promise where none of them gave one. Throws, or rejects, as they do. */
export function runSteps<T>(steps: Steps<T>): T | Promise<T> {
  const first = steps.next();
  return first.done === true ? first.value : finish(steps, first);
}

async function finish<T>(steps: Steps<T>, first: IteratorResult<unknown, T>): Promise<T> {
  let step = first;
  while (step.done !== true) {
    let value: unknown;
    try {
      value = await step.value;
    } catch (error) {
      step = steps.throw(error);
      continue;
    }
    step = steps.next(value);
  }
  return step.value;
}
