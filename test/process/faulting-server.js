// The server with one fault point that kills it: FAULT_POINT=name:count ends the process at that hit of that point.
import { main } from "../../packages/server/dist/cli/main.js";

const [, name, count] = /^(.+):(\d+)$/.exec(process.env.FAULT_POINT ?? "") ?? [];
if (name === undefined) throw new Error("FAULT_POINT=name:count is missing");
let left = Number(count);

await main(process.argv.slice(2), {
  faultPoint: (point) => {
    if (point !== name) return;
    left -= 1;
    // Nothing of this process may run after the signal: SIGKILL is not delivered before the next system call returns.
    if (left === 0) process.kill(process.pid, "SIGKILL");
  },
});
