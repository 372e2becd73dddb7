/** UDP and TCP on the same port of every address. */
import { InvalidArgumentError, type Logger } from "@heddle/daemon";
import { listenTcp, type TcpHandler, type TcpListener } from "./tcp.ts";
import { listenUdp, type UdpHandler, type UdpListener } from "./udp.ts";

const PORT_ATTEMPTS = 10; // a free port for TCP may be taken for UDP

export interface Listeners {
  readonly port: number;
  readonly addresses: string[];
  readonly tcpConnections: number;
  close(): Promise<void>;
}

export interface ListenerHandlers {
  log: Logger;
  onUdp: UdpHandler;
  onTcp: TcpHandler;
}

/** Binds all or nothing. Throws UnavailableError that names the port and its holder. */
export async function bindListeners(
  { host, port }: { host: string; port: number },
  handlers: ListenerHandlers,
): Promise<Listeners> {
  const hosts = host.split(/[\s,]+/).filter((h) => h !== "");
  if (hosts.length === 0) throw new InvalidArgumentError("no address to listen on: give -host");
  for (let attempt = 1; ; attempt++) {
    try {
      return await bindAll(hosts, port, handlers);
    } catch (error) {
      if (port !== 0 || attempt === PORT_ATTEMPTS) throw error;
    }
  }
}

async function bindAll(hosts: string[], wanted: number, { log, onUdp, onTcp }: ListenerHandlers): Promise<Listeners> {
  await using stack = new AsyncDisposableStack();
  const tcp: TcpListener[] = [];
  const addresses: string[] = [];
  let port = wanted;
  for (const host of hosts) {
    const overTcp = await listenTcp(host, port, onTcp, log);
    stack.defer(() => overTcp.close());
    port = overTcp.port;
    const overUdp: UdpListener = await listenUdp(host, port, onUdp, log);
    stack.defer(() => overUdp.close());
    tcp.push(overTcp);
    addresses.push(`${host.includes(":") ? `[${host}]` : host}:${port}`);
  }
  const owned = stack.move();
  return {
    port,
    addresses,
    get tcpConnections() {
      return tcp.reduce((sum, listener) => sum + listener.connections, 0);
    },
    close: () => owned.disposeAsync(),
  };
}
