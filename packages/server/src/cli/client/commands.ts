/** The table of commands for streams. */
import { CLOSE } from "./close.ts";
import type { CommandSpec } from "./command-spec.ts";
import { COMPLETION } from "./completion.ts";
import { CREATE } from "./create.ts";
import { DELETE } from "./delete.ts";
import { FORK } from "./fork.ts";
import { HEAD } from "./head.ts";
import { READ } from "./read.ts";
import { SUBSCRIPTION_COMMANDS } from "./sub.ts";
import { WRITE } from "./write.ts";

export const COMMANDS: readonly CommandSpec[] = [
  CREATE,
  WRITE,
  READ,
  HEAD,
  CLOSE,
  DELETE,
  FORK,
  ...SUBSCRIPTION_COMMANDS,
  COMPLETION,
];
