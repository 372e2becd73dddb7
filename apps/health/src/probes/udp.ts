/** UDP: an empty datagram; passing when something answers or nothing does, critical when the port is refused. */
import { createSocket } from "node:dgram";
import { isIPv6 } from "node:net";
import { dialText, errnoText, joinHostPort } from "../go-text.ts";
import { splitHostPort } from "./dial.ts";
import { critical, passing, type Probe, type ProbeResult, timeoutOf } from "./probe.ts";

export const probe: Probe = (check, context) =>
  new Promise((resolve) => {
    const target = check.UDP ?? "";
    let address: ReturnType<typeof splitHostPort>;
    try {
      address = splitHostPort(target, "udp");
    } catch (error) {
      return resolve(critical((error as Error).message));
    }
    const { host, port } = address;
    const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
    let isConnected = false;
    const settle = (result: ProbeResult) => {
      timer.cancel();
      context.signal.removeEventListener("abort", onAbort);
      socket.removeAllListeners("message");
      try {
        socket.close();
      } catch {
        // It never opened.
      }
      resolve(result);
    };
    const success = () => settle(passing(`UDP connect ${target}: Success`));
    const timer = context.clock.after(timeoutOf(check), success);
    const onAbort = () => settle(critical("the check was removed"));
    context.signal.addEventListener("abort", onAbort, { once: true });
    socket.once("message", success);
    socket.on("error", (error: NodeJS.ErrnoException) =>
      settle(
        critical(
          isConnected
            ? `read udp ${joinHostPort(host, port)}: read: ${errnoText(error)}`
            : dialText(error, "udp", target),
        ),
      ),
    );
    try {
      socket.connect(port, host, () => {
        isConnected = true;
        socket.send(Buffer.alloc(0));
      });
    } catch (error) {
      settle(critical(`dial udp ${target}: ${(error as Error).message}`));
    }
  });
