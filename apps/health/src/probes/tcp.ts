/** TCP: passing when a connection is accepted. */
import { dial } from "./dial.ts";
import { critical, passing, type Probe, timeoutOf } from "./probe.ts";

export const probe: Probe = async (check, context) => {
  const target = check.TCP ?? "";
  try {
    const socket = await dial(target, { timeoutMs: timeoutOf(check), context });
    socket.destroy();
    return passing(`TCP connect ${target}: Success`);
  } catch (error) {
    return critical((error as Error).message);
  }
};
