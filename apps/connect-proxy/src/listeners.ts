/**
 * The listeners that the snapshot asks for: opened, moved and closed one by one, without a word to the others. A port
 * that is taken is an error in the log, tried again until it is free.
 *
 * They are shared by port (SO_REUSEPORT): the kernel deals connections out to the process's threads. A port that somebody else has
 * is still found out, by asking for it without sharing first. Who takes over from this process gets its very sockets, or else
 * shares its ports. A Unix socket is one process's and one thread's; who takes over replaces it.
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { describeError, explainListenError, isLoopback, type Logger } from "@heddle/daemon";
import {
  ACCEPT_OPTIONS,
  type Address,
  asUnix,
  DEFAULT_SOCKET_MODE,
  formatAddress,
  type HostPort,
  type StandingListeners,
  type WantedListener,
  resetSocket,
} from "@heddle/data-plane";
import { type Handle, listenOn } from "./hand-over/adopt.ts";
import { descriptorOf, type Offered } from "./hand-over/offer.ts";
import { checkSocketPath, listenOnSocket, type Replaced } from "./unix-socket.ts";

const RETRY_MS = 1_000;
const GIVE_UP_MS = 250; // another thread of ours gives a port up that moves from one listener to another
const BACKLOG = 4_096;

export interface ListenerState {
  name: string;
  /** Where it listens; undefined while it cannot. */
  address: Address | undefined;
  error?: string | undefined;
}

export interface Listeners extends StandingListeners {
  states(): ListenerState[];
  /** What listens on ports, for a process that takes over. */
  offered(): Offered[];
  /** Stops accepting for good; open connections go on. Resolves when nothing more is accepted. */
  stopAccepting(): Promise<void>;
  /** Resets what is still open. */
  reset(): void;
}

export interface ListenersOptions {
  /** A port may be shared with whoever has it, a Unix socket taken: another thread of this process, which has made sure, or our predecessor. */
  mayShare?: (bind: Address) => boolean;
  /** Sockets of a process before this one that listen there already, ours to accept from. */
  adopt?: (at: string) => Handle[];
  /** Called when a listener opens, closes or cannot. */
  onChange?: () => void;
}

interface Entry {
  spec: WantedListener;
  server: Server | undefined;
  /** Beside it, on sockets that were taken over. */
  more: Server[];
  /** Of a Unix socket: removes its file. */
  remove?: (() => void) | undefined;
  retry?: NodeJS.Timeout | undefined;
  state: ListenerState;
  isClosed: boolean;
}

export function createListeners(log: Logger, options: ListenersOptions = {}): Listeners {
  const { mayShare = () => false, adopt = () => [], onChange = () => {} } = options;
  const entries = new Map<string, Entry>();
  const sockets = new Set<Socket>();
  let isOver = false;

  const open = (entry: Entry) => {
    const { bind } = entry.spec;
    const { path } = bind;
    if (path === undefined && (bind.port === 0 || mayShare(bind))) return listen(entry);
    const checked = path === undefined ? checkFree(bind) : checkSocketPath(path, mayShare(bind));
    checked
      .then((replaces) => entry.isClosed || listen(entry, replaces ?? undefined))
      .catch((error: unknown) => fail(entry, error as Error));
  };

  const listen = (entry: Entry, replaces?: Replaced) => {
    const { bind, name, socketMode: mode = DEFAULT_SOCKET_MODE } = entry.spec;
    const { path } = bind;
    const server = serverOf(entry, (error) => void fail(entry, error));
    const stand = (address: Address) => {
      entry.server = server;
      entry.state = { name, address };
      onChange();
      log.info("Starting listener", { listener: name, bind_addr: formatAddress(address) });
    };
    if (path !== undefined) {
      listenOnSocket(server, { path, mode, backlog: BACKLOG, replaces }, (remove) => {
        entry.remove = remove;
        if (!entry.isClosed) return stand(bind);
        remove();
        server.close();
      });
      return;
    }
    server.once("listening", () => {
      const { address, port } = server.address() as AddressInfo;
      if (entry.isClosed) return closeServers(entry, server);
      stand({ host: address, port });
    });
    const [adopted, ...others] = adopt(formatAddress(bind));
    if (!adopted) return void server.listen({ host: bind.host, port: bind.port, backlog: BACKLOG, reusePort: true });
    listenOn(server, adopted, BACKLOG);
    for (const handle of others) {
      const one = serverOf(entry, (error) =>
        log.error("cannot accept", { listener: name, error: describeError(error) }),
      );
      entry.more.push(one);
      listenOn(one, handle, BACKLOG);
    }
  };

  const serverOf = (entry: Entry, onFailure: (error: Error) => void): Server => {
    const { bind, name } = entry.spec;
    // Applications on this machine do not vanish; probes of thousands at once only keep it awake.
    const server = createServer({ ...ACCEPT_OPTIONS, keepAlive: !isLoopback(bind.host) });
    server.on("connection", (socket) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      entry.spec.accept(bind.path === undefined ? socket : asUnix(socket));
    });
    server.on("error", (error) => {
      // After it listens: an accept that failed (no descriptors left); it goes on accepting.
      if (server.listening) log.error("cannot accept for now", { listener: name, error: describeError(error) });
      else onFailure(error);
    });
    return server;
  };

  const closeServers = ({ more }: Entry, server: Server): void => {
    for (const one of [server, ...more]) one.close();
  };

  const fail = async (entry: Entry, error: Error) => {
    const { bind, name } = entry.spec;
    if (entry.retry === undefined) {
      entry.retry = setTimeout(() => open(entry), GIVE_UP_MS);
      return;
    }
    const message =
      bind.path === undefined ? (await explainListenError(error, bind.host, bind.port)).message : describeError(error);
    if (entry.isClosed) return;
    if (entry.state.error !== message)
      log.error("cannot open a listener, trying again", { listener: name, error: message });
    entry.state = { name, address: undefined, error: message };
    entry.retry = setTimeout(() => open(entry), RETRY_MS);
    onChange();
  };

  const close = async (key: string, entry: Entry): Promise<void> => {
    entries.delete(key);
    entry.isClosed = true;
    clearTimeout(entry.retry);
    const { server } = entry;
    if (!server) return;
    try {
      entry.remove?.();
    } catch (error) {
      log.warn("cannot remove a socket", { listener: entry.spec.name, error: describeError(error) });
    }
    onChange();
    // Once more through the loop: what is in the queue is accepted, not reset with it. The callback of `close` would come
    // when the last connection has ended; the port is free at once.
    return new Promise((resolve) => {
      setImmediate(() =>
        setImmediate(() => {
          closeServers(entry, server);
          log.info("Stopping listener", { listener: entry.spec.name, bind_addr: formatAddress(entry.spec.bind) });
          resolve();
        }),
      );
    });
  };

  return {
    want(specs) {
      if (isOver) return; // the snapshot may change still
      const wanted = new Map(
        specs.map((spec) => [`${spec.name} ${formatAddress(spec.bind)} ${spec.socketMode}`, spec]),
      );
      for (const [key, entry] of entries) if (!wanted.has(key)) void close(key, entry);
      for (const [key, spec] of wanted) {
        const known = entries.get(key);
        if (known) known.spec = spec;
        else {
          const entry: Entry = {
            spec,
            server: undefined,
            more: [],
            state: { name: spec.name, address: undefined },
            isClosed: false,
          };
          entries.set(key, entry);
          open(entry);
        }
      }
    },
    states: () => [...entries.values()].map((e) => e.state),
    offered: () =>
      [...entries.values()].flatMap(({ server, more, state: { address } }) =>
        (address && address.path === undefined ? [server, ...more] : []).flatMap((one) => {
          const fd = one && descriptorOf(one);
          return address && fd !== undefined ? [{ at: formatAddress(address), fd }] : [];
        }),
      ),
    async stopAccepting() {
      isOver = true;
      await Promise.all([...entries].map(([key, entry]) => close(key, entry)));
    },
    reset() {
      for (const socket of sockets) resetSocket(socket);
    },
  };
}

/** Throws where somebody has the port, also somebody who would share it. */
async function checkFree({ host, port }: HostPort): Promise<void> {
  const probe = createServer();
  probe.listen({ host, port, backlog: 1 });
  await once(probe, "listening");
  probe.close();
  await once(probe, "close");
}
