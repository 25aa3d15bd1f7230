/** `delete`: a stream and its bytes (protocol 5.4). */
import type { CommandSpec } from "./command-spec.ts";

export const DELETE: CommandSpec = {
  name: "delete",
  summary: "delete a stream",
  operands: ["<path>"],
  options: [],
  example: "delete events",
  async run({ connection, terminal }, [path]) {
    await connection.handle(path!).delete();
    await terminal.say(`Stream deleted successfully: "${path}"`);
  },
};
