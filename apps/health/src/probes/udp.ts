/** UDP: an empty datagram; passing when something answers or nothing does, critical when the port is refused. */
import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { dialText, errnoText } from "../go-text.ts";
import { splitHostPort } from "./dial.ts";
import { critical, passing, type Probe, type ProbeContext, type ProbeResult, timeoutOf } from "./probe.ts";

export const probe: Probe = async (check, context) => {
  const target = check.UDP ?? "";
  try {
    const { host, port } = splitHostPort(target, "udp");
    const { address, family } = await lookup(host).catch((error: NodeJS.ErrnoException) => {
      throw new Error(dialText(error, "udp", target));
    });
    return await ask({ target, address, port, family }, timeoutOf(check), context);
  } catch (error) {
    return critical((error as Error).message);
  }
};

type Destination = { target: string; address: string; port: number; family: number };

function ask(
  { target, address, port, family }: Destination,
  timeoutMs: number,
  context: ProbeContext,
): Promise<ProbeResult> {
  return new Promise((resolve) => {
    const socket = createSocket(family === 6 ? "udp6" : "udp4");
    let isConnected = false;
    const settle = (result: ProbeResult) => {
      timer.cancel();
      context.signal.removeEventListener("abort", onAbort);
      socket.removeAllListeners();
      socket.on("error", () => {});
      socket.close();
      resolve(result);
    };
    const success = () => settle(passing(`UDP connect ${target}: Success`));
    const timer = context.clock.after(timeoutMs, success);
    const onAbort = () => settle(critical("the check was removed"));
    context.signal.addEventListener("abort", onAbort, { once: true });
    socket.once("message", success);
    socket.on("error", (error: NodeJS.ErrnoException) =>
      settle(critical(isConnected ? `read udp ${target}: read: ${errnoText(error)}` : dialText(error, "udp", target))),
    );
    socket.once("connect", () => {
      isConnected = true;
      socket.send(Buffer.alloc(0));
    });
    try {
      socket.connect(port, address);
    } catch (error) {
      settle(critical(`dial udp ${target}: ${(error as Error).message}`)); // port 0
    }
  });
}
