/**
 * The TCP listeners that the snapshot asks for: opened, moved and closed one by one, without a word to the others. A port
 * that is taken is an error in the log, tried again until it is free.
 */
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { describeError, explainListenError, type Logger } from "@heddle/daemon";
import {
  ACCEPT_OPTIONS,
  formatHostPort,
  type HostPort,
  type StandingListeners,
  type WantedListener,
} from "@heddle/data-plane";

const RETRY_MS = 1_000;
const BACKLOG = 4_096;

export interface ListenerState {
  name: string;
  /** Where it listens; undefined while it cannot. */
  address: HostPort | undefined;
  error?: string | undefined;
}

export interface Listeners extends StandingListeners {
  states(): ListenerState[];
  /** Stops accepting; open connections go on. */
  stopAccepting(): void;
  /** Resets what is still open. */
  reset(): void;
}

interface Entry {
  spec: WantedListener;
  server: Server | undefined;
  retry?: NodeJS.Timeout | undefined;
  state: ListenerState;
  isClosed: boolean;
}

export function createListeners(log: Logger): Listeners {
  const entries = new Map<string, Entry>();
  const sockets = new Set<Socket>();

  const open = (entry: Entry) => {
    const { bind, name } = entry.spec;
    const server = createServer(ACCEPT_OPTIONS);
    server.on("connection", (socket) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      entry.spec.accept(socket);
    });
    server.on("error", (error) => void fail(entry, server, error));
    server.listen({ host: bind.host, port: bind.port, backlog: BACKLOG }, () => {
      const { address, port } = server.address() as AddressInfo;
      if (entry.isClosed) return void server.close();
      entry.server = server;
      entry.state = { name, address: { host: address, port } };
      log.info("Starting listener", { listener: name, bind_addr: formatHostPort({ host: address, port }) });
    });
  };

  // Before it listens: a bind that failed. After: an accept that failed (no descriptors left); it goes on accepting.
  const fail = async (entry: Entry, server: Server, error: Error) => {
    const { bind, name } = entry.spec;
    if (server.listening) return log.error("cannot accept for now", { listener: name, error: describeError(error) });
    const message = (await explainListenError(error, bind.host, bind.port)).message;
    if (entry.isClosed) return;
    if (entry.state.error !== message)
      log.error("cannot open a listener, trying again", { listener: name, error: message });
    entry.state = { name, address: undefined, error: message };
    entry.retry = setTimeout(() => open(entry), RETRY_MS);
  };

  const close = (key: string, entry: Entry): void => {
    entries.delete(key);
    entry.isClosed = true;
    clearTimeout(entry.retry);
    const { server } = entry;
    if (!server) return;
    log.info("Stopping listener", { listener: entry.spec.name, bind_addr: formatHostPort(entry.spec.bind) });
    // Its callback comes when the last connection has ended; the port is free at once.
    server.close();
  };

  return {
    want(specs) {
      const wanted = new Map(specs.map((spec) => [`${spec.name} ${formatHostPort(spec.bind)}`, spec]));
      for (const [key, entry] of entries) if (!wanted.has(key)) close(key, entry);
      for (const [key, spec] of wanted) {
        const known = entries.get(key);
        if (known) known.spec = spec;
        else {
          const entry: Entry = {
            spec,
            server: undefined,
            state: { name: spec.name, address: undefined },
            isClosed: false,
          };
          entries.set(key, entry);
          open(entry);
        }
      }
    },
    states: () => [...entries.values()].map((e) => e.state),
    stopAccepting() {
      for (const [key, entry] of entries) close(key, entry);
    },
    reset() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
  };
}
