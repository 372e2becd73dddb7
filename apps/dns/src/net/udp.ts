/** The UDP listener: a datagram in, a datagram out. */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { isIPv6 } from "node:net";
import { describeError, explainListenError, type Logger } from "@heddle/daemon";
import { RCODE } from "../codec/constants.ts";

const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024; // a burst waits in the kernel instead of being lost; it clamps this to its own limit
const MAX_FORMERR = 200; // a second: sending costs more than reading does, so a flood of noise is met with silence past it

export interface UdpListener {
  readonly port: number;
  close(): Promise<void>;
}

/** Answers through `send`, at once or later; without bytes silence is the answer. */
export type UdpHandler = (packet: Buffer, peer: RemoteInfo, send: (answer: Buffer | undefined) => void) => void;

export async function listenUdp(host: string, port: number, handler: UdpHandler, log: Logger): Promise<UdpListener> {
  const family = isIPv6(host) ? 6 : 4;
  // Peers are addresses already; the default, dns.lookup, costs each answer a turn of the event loop (10 % of the rate).
  const socket: Socket = createSocket({
    type: `udp${family}`,
    lookup: (address, _options, callback) => callback(null, address, family),
  });
  await new Promise<void>((resolve, reject) => {
    socket.once("error", (error) => {
      socket.close();
      void explainListenError(error, host, port, "udp").then(reject, reject);
    });
    socket.bind({ address: host, port, exclusive: true }, resolve);
  });
  socket.removeAllListeners("error");
  socket.on("error", (error) => log.warn("a datagram could not be sent", { error: describeError(error) }));
  try {
    socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES);
  } catch {
    // The default buffer does too.
  }
  let isOpen = true;
  const noise = { since: 0, told: 0 };
  /** False for one FORMERR too many. */
  const isWorthIt = (answer: Buffer): boolean => {
    if (((answer[3] ?? 0) & 15) !== RCODE.FORMERR) return true;
    const now = performance.now();
    if (now - noise.since > 1_000) Object.assign(noise, { since: now, told: 0 });
    return noise.told++ < MAX_FORMERR;
  };
  socket.on("message", (packet, peer) => {
    // Nobody can be answered on port 0; such a source is forged.
    if (peer.port === 0) return;
    handler(packet, peer, (answer) => {
      if (isOpen && answer && isWorthIt(answer)) socket.send(answer, 0, answer.length, peer.port, peer.address, ignore);
    });
  });
  return {
    port: socket.address().port,
    close: () =>
      new Promise((resolve) => {
        if (!isOpen) return resolve();
        isOpen = false;
        socket.close(resolve);
      }),
  };
}

// With a callback a failed send (an unreachable client) is that datagram's matter and no error of the socket.
const ignore = (): void => {};
