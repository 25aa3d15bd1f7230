// As ../../process/faulting-server.js, but hits count only from SIGUSR2 on, so that the server can be made ready before.
import { main } from "../../../packages/server/dist/cli/main.js";

const [, name, count] = /^(.+):(\d+)$/.exec(process.env.FAULT_POINT ?? "") ?? [];
if (name === undefined) throw new Error("FAULT_POINT=name:count is missing");
let left = Number(count);
let armed = false;

process.on("SIGUSR2", () => {
  armed = true;
  process.stderr.write("armed\n");
});

await main(process.argv.slice(2), {
  faultPoint: (point) => {
    if (!armed || point !== name) return;
    left -= 1;
    // Nothing of this process may run after the signal: SIGKILL is not delivered before the next system call returns.
    if (left === 0) process.kill(process.pid, "SIGKILL");
  },
});
