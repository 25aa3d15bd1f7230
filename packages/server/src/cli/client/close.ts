/** `close`: the end of a stream, for good (protocol 5.3). */
import type { CommandSpec } from "./command-spec.ts";

export const CLOSE: CommandSpec = {
  name: "close",
  summary: "close a stream: readers see its end, nothing can be written any more",
  operands: ["<path>"],
  options: [],
  example: "close events",
  notes: "Closing a closed stream succeeds. write --close closes together with the last bytes.",
  async run({ connection, terminal }, [path]) {
    const { finalOffset } = await connection.handle(path!).close();
    await terminal.say(`Stream closed: "${path}"${finalOffset === "" ? "" : ` at offset ${finalOffset}`}`);
  },
};
