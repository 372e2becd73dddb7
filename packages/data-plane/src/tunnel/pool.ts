/**
 * The tunnels of one upstream, few for each instance, and dialled when they are needed. An instance whose proxy is not ours
 * gets one TLS connection for each of the application's, as Consul's proxies have it.
 */
import type { Clock } from "@heddle/daemon";
import { formatHostPort, type HostPort } from "../spec.ts";
import type { MeshLeg } from "../mesh-tls.ts";
import { RefusedError } from "../refusal.ts";
import { Tunnel } from "./tunnel.ts";

const MAX_TUNNELS = 4; // to one instance: a lost packet holds up a share of the streams, not all of them
const BUSY_STREAMS = 128; // on the least busy one: another is dialled
const IDLE_MS = 300_000; // without a stream
const MAX_KNOWN = 4_096; // instances that are remembered

export interface TunnelPoolDeps {
  clock: Pick<Clock, "now">;
  /** Dials and checks the peer. Rejects with RefusedError. */
  dial: (endpoint: HostPort, spiffeId: string, budgetMs: number) => Promise<MeshLeg>;
}

export interface TunnelPool {
  /** A tunnel to the instance, or a leg for one connection where its proxy knows no tunnels. */
  reach(endpoint: HostPort, spiffeId: string, budgetMs: number): Promise<Tunnel | MeshLeg>;
  /** No new streams on what is open: our certificate or the roots have changed. */
  retire(): void;
  /** Resets what is open. */
  close(): void;
  /** Tunnels that are open. */
  readonly all: Iterable<Tunnel>;
}

interface Known {
  tunnels: Tunnel[];
  dialling: Promise<Tunnel | undefined> | undefined;
  isPlain: boolean;
}

export function createTunnelPool({ clock, dial }: TunnelPoolDeps): TunnelPool {
  const known = new Map<string, Known>();
  const open = new Set<Tunnel>();
  let version = 0;

  const remember = (key: string): Known => {
    const entry = known.get(key) ?? { tunnels: [], dialling: undefined, isPlain: false };
    if (known.size >= MAX_KNOWN)
      for (const [other, { tunnels }] of known) if (tunnels.length === 0) known.delete(other);
    known.set(key, entry);
    return entry;
  };

  const add = (entry: Known, leg: MeshLeg): Tunnel => {
    const drop = () => {
      open.delete(tunnel);
      entry.tunnels = entry.tunnels.filter((t) => t !== tunnel);
    };
    const tunnel: Tunnel = new Tunnel(leg, { onClose: () => drop() });
    open.add(tunnel);
    entry.tunnels.push(tunnel);
    entry.isPlain = false;
    closeWhenIdle(tunnel);
    return tunnel;
  };

  /** Dials; what comes is a tunnel for everybody, or a leg for the one who dialled. */
  const dialTunnel = (
    entry: Known,
    endpoint: HostPort,
    spiffeId: string,
    budgetMs: number,
  ): Promise<Tunnel | MeshLeg> => {
    const dialledAs = version;
    const startedAt = performance.now();
    const dialled: Promise<Tunnel | MeshLeg> = dial(endpoint, spiffeId, budgetMs).then((leg) => {
      if (!leg.isTunnel) {
        entry.isPlain = true;
        return leg;
      }
      const tunnel = add(entry, leg);
      if (dialledAs === version) return tunnel;
      // Our certificate or the roots changed while it was dialled: it is left unused, and who asked has another one.
      tunnel.leave();
      const left = budgetMs - (performance.now() - startedAt);
      if (left <= 0)
        throw new RefusedError(
          "unreachable",
          "the certificate changed while the instance was dialled, and time ran out",
        );
      return dialTunnel(entry, endpoint, spiffeId, left);
    });
    const shared = dialled
      .then((result) => (result instanceof Tunnel ? result : undefined))
      .finally(() => {
        if (entry.dialling === shared) entry.dialling = undefined;
      });
    shared.catch(() => {}); // told to who dialled
    entry.dialling = shared;
    return dialled;
  };

  return {
    async reach(endpoint, spiffeId, budgetMs) {
      const entry = remember(`${formatHostPort(endpoint)} ${spiffeId}`);
      const best = leastBusy(entry.tunnels, clock.now());
      if (best) {
        if (best.size >= BUSY_STREAMS && entry.tunnels.length < MAX_TUNNELS && !entry.dialling)
          dialTunnel(entry, endpoint, spiffeId, budgetMs).catch(() => {});
        return best;
      }
      const shared = entry.isPlain ? undefined : await entry.dialling;
      if (shared?.isUsable) return shared;
      return dialTunnel(entry, endpoint, spiffeId, budgetMs);
    },
    retire() {
      version++;
      for (const tunnel of open) tunnel.leave();
    },
    close() {
      for (const tunnel of open) tunnel.destroy();
    },
    all: open,
  };
}

function leastBusy(tunnels: readonly Tunnel[], now: number): Tunnel | undefined {
  let best: Tunnel | undefined;
  for (const tunnel of tunnels) {
    // A new stream is a new connection: its peer's certificate has to be valid now.
    if (!tunnel.isUsable || tunnel.leg.certificate.notAfter <= now) continue;
    if (!best || tunnel.size < best.size) best = tunnel;
  }
  return best;
}

function closeWhenIdle(tunnel: Tunnel): void {
  let wasIdle = false;
  const timer = setInterval(() => {
    if (tunnel.isClosed) return clearInterval(timer);
    if (tunnel.size === 0 && wasIdle) tunnel.leave();
    wasIdle = tunnel.size === 0;
  }, IDLE_MS / 2);
  timer.unref();
}
