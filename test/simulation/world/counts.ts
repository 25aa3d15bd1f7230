/** What a run met, for its last line. Numbers add up over seeds. */
export interface Counts {
  [name: string]: number;
  operations: number;
  acks: number;
  refused: number;
  ambiguous: number;
  crashes: number;
  powerLosses: number;
  crashesInRecovery: number;
  crashesInClose: number;
  fatalExits: number;
  starts: number;
  startsRefused: number;
  secondProcessesRefused: number;
  gracefulCloses: number;
  lostWrites: number;
  lostEntries: number;
  tornWrites: number;
  failedSyncs: number;
  diskFull: number;
  commitsLost: number;
  bitFlips: number;
  bitFlipsFound: number;
  rolls: number;
  events: number;
}

export function newCounts(): Counts {
  return {
    operations: 0,
    acks: 0,
    refused: 0,
    ambiguous: 0,
    crashes: 0,
    powerLosses: 0,
    crashesInRecovery: 0,
    crashesInClose: 0,
    fatalExits: 0,
    starts: 0,
    startsRefused: 0,
    secondProcessesRefused: 0,
    gracefulCloses: 0,
    lostWrites: 0,
    lostEntries: 0,
    tornWrites: 0,
    failedSyncs: 0,
    diskFull: 0,
    commitsLost: 0,
    bitFlips: 0,
    bitFlipsFound: 0,
    rolls: 0,
    events: 0,
  };
}

export function addCounts(sum: Counts, more: Readonly<Record<string, number>>): void {
  for (const [name, count] of Object.entries(more)) sum[name] = (sum[name] ?? 0) + count;
}

/** One more of `name`, which need not be known before. */
export function count(counts: Counts, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}
