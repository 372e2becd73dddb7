/**
 * The proxy as a function of its snapshot: each change of a part decides anew which listeners stand, with which identity, and
 * which open connections may stay.
 */
import type { Socket } from "node:net";
import { isDeepStrictEqual } from "node:util";
import { type Clock, describeError, type Logger, sleep } from "@heddle/daemon";
import {
  createRevocationList,
  dateProblem,
  daysLeft,
  EXPIRED_STAGE,
  expiryStage,
  NO_REVOCATIONS,
  type RevocationList,
  URGENT_STAGE,
} from "@heddle/tls";
import { type Authorize, createAuthorizer } from "./authorize.ts";
import type { Instance } from "./balance.ts";
import type { ConnectionTable, Direction, Parties } from "./connections.ts";
import { countKey, type Counts } from "./counts.ts";
import { dialAddress } from "./dial.ts";
import { createIdleCuts } from "./idle.ts";
import { createInbound, type Inbound } from "./inbound.ts";
import {
  createDialler,
  createTerminator,
  type Dialler,
  type Revoked,
  type Terminator,
  toTlsIdentity,
} from "./mesh-tls.ts";
import type { ProxyMetrics } from "./metrics.ts";
import { createOutbound, type Outbound } from "./outbound.ts";
import type { PlainSocket } from "./pipe.ts";
import { type KnownRoots, nextRoots, recheckRevocations, recheckRoots, recheckRules } from "./recheck.ts";
import { type Leaf, type SnapshotPart, type SnapshotStore, upstreamKey } from "./snapshot.ts";
import { type Address, type PublicSpec, upstreamListenerName, type UpstreamSpec } from "./spec.ts";

const LAST_WORDS_MS = 300;

/** A listener that the snapshot asks for. */
export interface WantedListener {
  /** "public listener", or "127.0.0.1:9191->service:default/socat". */
  name: string;
  bind: Address;
  /** Permissions of a Unix socket. */
  socketMode?: number | undefined;
  accept: (socket: Socket) => void;
}

/** Whoever binds the ports. */
export interface StandingListeners {
  /** All that are to stand: those that are missing are opened, others closed. */
  want(listeners: WantedListener[]): void;
}

export interface ProxyDeps {
  /** Tells its counts from those of other proxies of the process. */
  id: string;
  store: SnapshotStore;
  listeners: StandingListeners;
  table: ConnectionTable;
  metrics: ProxyMetrics;
  counts: Counts;
  clock: Clock;
  log: Logger;
  /** Reaches the service behind the public listener; by default where the spec says. */
  openService?: (spec: PublicSpec, caller: Parties) => Promise<PlainSocket>;
}

export interface Proxy {
  /** The way to an upstream whose instances are known, by the name of its listener. */
  outbound(listener: string): Outbound | undefined;
  /** What is missing before the listeners can open; empty when they are. */
  missing(): string[];
  /** What is wrong with our certificate: revoked, or in its last hours, so that who asks for readiness can act before it ends. */
  identityProblem(): string | undefined;
  /** Looks again at what time alone changes: roots and a leaf that expire. */
  recheck(): void;
  /** What metrics show of it. */
  tunnels(): Record<Direction, number>;
  endpoints(): { listener: string; instances: readonly Instance[] }[];
  instances(): { destination: string; healthy: number; ejected: number }[];
  /** Tells the far proxies to open no new streams; what is open goes on. */
  leave(direction?: Direction): void;
  /** Tells half of the callers that have a tunnel to make another one, and those of one caller alike: the kernel deals them out anew. */
  letGo(): void;
  /** Ends the tunnels, giving what was last said a moment to go out. */
  close(): Promise<void>;
}

export function createProxy(deps: ProxyDeps): Proxy {
  const { id, store, listeners, table, metrics, counts, clock, log, openService = dialService } = deps;
  let told: { leaf: Leaf; stage: number } | undefined;
  let tls: { terminator: Terminator; handshakeTimeoutMs: number; requirePq: boolean; dialler: Dialler } | undefined;
  let authorize: Authorize = () => ({ allowed: false, reason: "the proxy has no configuration yet", trace: [] });
  let decidedBy: unknown;
  let knownRoots: KnownRoots = { current: store.current.roots?.certPems ?? [], former: [] };
  let ours: Inbound | undefined;
  let revocations: RevocationList = createRevocationList(NO_REVOCATIONS);
  const revoked: Revoked = ({ certificate, own }) => {
    // Both ends are told the same, so it names whose it is.
    for (const one of [certificate, own]) {
      const why = revocations.check(one);
      if (why !== undefined) return `the certificate of '${one.service ?? "a stranger"}' is revoked: ${why}`;
    }
    return undefined;
  };
  const outbounds = new Map<string, Outbound>(); // by listener, so that a changed spec does not lose counts

  const timeoutMs = () => store.current.spec?.public?.localIdleTimeoutMs ?? 0;
  const idle = createIdleCuts({ table, clock, timeoutMs });

  const missing = (): string[] => {
    const { spec, leaf, roots, rules } = store.current;
    const parts = {
      configuration: spec,
      leaf: leaf?.service === spec?.service ? leaf : undefined,
      roots,
      revocations: store.current.revocations,
    };
    const names = Object.entries(parts).flatMap(([name, part]) => (part ? [] : [name]));
    return spec?.public && !rules ? [...names, "intentions"] : names;
  };

  function onChange(part: SnapshotPart): void {
    const { spec, roots, rules } = store.current;
    if (part === "revocations") takeRevocations();
    if (part === "spec") idle.changed();
    const isStricter = part === "spec" && tls !== undefined && tls.requirePq !== (spec?.requirePq ?? false);
    if (part === "leaf" || part === "roots" || isStricter) takeIdentity();
    if (spec && (part === "spec" || part === "rules") && areNewRules()) {
      authorize = createAuthorizer(spec, rules);
      recheckRules(table, authorize);
    }
    if (roots && part === "roots") {
      knownRoots = nextRoots(knownRoots, roots);
      recheckRoots(table, ours?.tunnels ?? [], knownRoots, clock.now());
    }
    standListeners();
  }

  function takeRevocations(): void {
    revocations = createRevocationList(store.current.revocations ?? NO_REVOCATIONS);
    recheckRevocations(table, tunnels(), revoked);
    const { leaf } = store.current;
    const why = leaf && revocations.check(leaf);
    if (why !== undefined) log.error("our certificate is revoked: every connection is refused", { reason: why });
  }

  function takeIdentity(): void {
    const { spec, leaf, roots } = store.current;
    if (!leaf || !roots) return;
    try {
      const requirePq = spec?.requirePq ?? false;
      const identity = toTlsIdentity(leaf, roots, requirePq);
      if (tls) {
        tls.terminator.swap(identity);
        tls.dialler.swap(identity);
        // What is open goes on; new connections come over tunnels that were made by the rule.
        if (requirePq && !tls.requirePq) for (const tunnel of ours?.tunnels ?? []) tunnel.leave();
        tls.requirePq = requirePq;
        for (const { tunnels } of outbounds.values()) tunnels.retire();
      } else {
        const handshakeTimeoutMs = spec?.public?.handshakeTimeoutMs ?? 0;
        tls = {
          terminator: createTerminator(identity, handshakeTimeoutMs, revoked),
          handshakeTimeoutMs,
          requirePq,
          dialler: createDialler(identity, revoked),
        };
        log.info("Proxy loaded config and ready to serve");
      }
      const early = clock.now() < leaf.notBefore ? dateProblem(leaf, clock.now()) : undefined;
      if (early !== undefined)
        log.warn("our certificate is not valid yet by the clock here", { uri: leaf.uri, why: early });
      log.info("Parsed TLS identity", { uri: leaf.uri, roots: `[${roots.names.join(",")}]` });
    } catch (error) {
      log.error("cannot use the new certificate or roots, keeping what is known", { error: describeError(error) });
    }
  }

  // Each write of a rule is a new version for every proxy, and changes the rules of few.
  function areNewRules(): boolean {
    const { spec, rules } = store.current;
    const next = { service: spec?.service, namespace: spec?.namespace, rules: { ...rules, version: 0 } };
    if (isDeepStrictEqual(decidedBy, next)) return false;
    decidedBy = next;
    return true;
  }

  function standListeners(): void {
    const { spec, leaf, roots } = store.current;
    if (missing().length > 0 || !spec || !leaf || !roots || !tls) return;
    const { public: publicSpec } = spec;
    if (publicSpec && publicSpec.handshakeTimeoutMs !== tls.handshakeTimeoutMs) {
      const { handshakeTimeoutMs } = publicSpec;
      tls = {
        ...tls,
        handshakeTimeoutMs,
        terminator: createTerminator(toTlsIdentity(leaf, roots, tls.requirePq), handshakeTimeoutMs, revoked),
      };
    }
    const wanted: WantedListener[] = [];
    if (publicSpec) {
      const { accept } = (ours ??= inbound());
      wanted.push({ name: "public listener", bind: publicSpec.bind, accept });
    }
    for (const upstream of spec.upstreams) {
      // Opened once its instances are known, so that nobody's first connection comes too early.
      if (!store.current.endpoints.has(upstreamKey(upstream))) continue;
      const name = upstreamListenerName(upstream);
      const known = outbounds.get(name) ?? outbound(name);
      outbounds.set(name, known);
      wanted.push({ name, bind: upstream.bind, socketMode: upstream.socketMode, accept: known.accept });
    }
    for (const [name, { tunnels }] of outbounds) {
      if (wanted.some((w) => w.name === name)) continue;
      tunnels.retire();
      outbounds.delete(name);
    }
    listeners.want(wanted);
  }

  function inbound() {
    let last = store.current.spec?.public as PublicSpec;
    return createInbound({
      service: () => {
        const { uri, trustDomain, service } = store.current.leaf as Leaf;
        return { name: service, uri, trustDomain };
      },
      spec: () => (last = store.current.spec?.public ?? last),
      openService: (caller) => openService(last, caller),
      authorize: () => authorize,
      revoked,
      terminator: () => (tls as NonNullable<typeof tls>).terminator,
      id,
      counts,
      table,
      metrics,
      clock,
      log,
    });
  }

  function outbound(name: string) {
    const find = () => store.current.spec?.upstreams.find((u) => upstreamListenerName(u) === name);
    let last = find() as UpstreamSpec;
    return createOutbound({
      upstream: () => (last = find() ?? last),
      leaf: () => store.current.leaf as Leaf,
      endpoints: () => store.current.endpoints.get(upstreamKey(last)),
      dialler: () => (tls as NonNullable<typeof tls>).dialler,
      countAs: countKey.upstream(id, name),
      counts,
      table,
      metrics,
      clock,
      log,
    });
  }

  const inboundTunnels = () => [...(ours?.tunnels ?? [])];
  const outboundTunnels = () => [...outbounds.values()].flatMap(({ tunnels }) => [...tunnels.all]);
  const tunnels = () => [...inboundTunnels(), ...outboundTunnels()];

  store.onChange(onChange);

  return {
    missing,
    outbound: (listener) => outbounds.get(listener),
    identityProblem() {
      const { leaf } = store.current;
      if (!leaf) return undefined;
      const why = revocations.check(leaf);
      if (why !== undefined) return `our certificate is revoked: ${why}`;
      return expiryStage(leaf, clock.now()) >= URGENT_STAGE ? "our certificate is about to expire" : undefined;
    },
    recheck() {
      const { leaf } = store.current;
      recheckRoots(table, ours?.tunnels ?? [], knownRoots, clock.now());
      const stage = leaf ? expiryStage(leaf, clock.now()) : 0;
      if (!leaf || stage === 0 || (told?.leaf === leaf && told.stage >= stage)) return;
      told = { leaf, stage };
      const fields = { uri: leaf.uri, days_left: daysLeft(leaf, clock.now()) };
      if (stage < EXPIRED_STAGE)
        log.warn("our certificate is close to its end, and the agent has given no new one", fields);
      else log.error("our certificate has expired: every peer refuses it until the agent gives a new one", fields);
    },
    tunnels: () => ({ inbound: inboundTunnels().length, outbound: outboundTunnels().length }),
    endpoints: () => [...outbounds].map(([listener, outbound]) => ({ listener, instances: outbound.instances() })),
    instances: () => [...outbounds.values()].map(({ counts }) => counts()),
    leave(direction) {
      if (direction !== "outbound") for (const tunnel of inboundTunnels()) tunnel.leave();
      if (direction !== "inbound") for (const tunnel of outboundTunnels()) tunnel.leave();
    },
    letGo() {
      const staying = [...inboundTunnels()].filter((tunnel) => !tunnel.isLeaving);
      for (const tunnel of staying.slice(Math.ceil(staying.length / 2))) tunnel.leave();
    },
    async close() {
      idle.close();
      const deadline = performance.now() + LAST_WORDS_MS;
      while (tunnels().some((t) => t.size > 0) && performance.now() < deadline) await sleep(10);
      for (const tunnel of tunnels()) tunnel.destroy();
    },
  };
}

function dialService({ local, localConnectTimeoutMs }: PublicSpec): Promise<PlainSocket> {
  return dialAddress(local, localConnectTimeoutMs);
}
