/** The services that this program dials: watched from their first use, forgotten when nobody has wanted them for a while. */
import { TimeoutError } from "@heddle/daemon";
import {
  type DataPlane,
  DEFAULT_MAX_CONNECTIONS,
  type Outbound,
  upstreamListenerName,
  type UpstreamSpec,
} from "@heddle/data-plane";
import type { Target } from "./target.ts";

const IDLE_MS = 600_000; // a watch costs the agent a waiting request
const SWEEP_MS = 60_000;
const MAX_UPSTREAMS = 1_000;

export interface Upstreams extends Disposable {
  /** Resolves when the instances are known; rejects with TimeoutError, saying what is missing. */
  reach(target: Target, timeoutMs: number, signal?: AbortSignal): Promise<Outbound>;
}

export interface UpstreamsDeps {
  plane: DataPlane;
  /** Resolves when `isTrue` does after a change of what is known; rejects after `timeoutMs` with what `why` says. */
  until: Until;
}

export type Until = <T>(
  find: () => T | undefined,
  options: { timeoutMs: number; signal?: AbortSignal | undefined; what: string },
) => Promise<T>;

export function createUpstreams({ plane, until }: UpstreamsDeps): Upstreams {
  const { store, proxy, table } = plane;
  const usedAt = new Map<string, number>(); // by listener, the least recently used first

  const setUpstreams = (change: (upstreams: UpstreamSpec[]) => UpstreamSpec[]): void => {
    const { spec } = store.current;
    if (spec) store.set("spec", { ...spec, upstreams: change(spec.upstreams) });
  };
  const drop = (listeners: ReadonlySet<string>): void => {
    for (const listener of listeners) usedAt.delete(listener);
    if (listeners.size > 0) setUpstreams((all) => all.filter((each) => !listeners.has(upstreamListenerName(each))));
  };
  const sweep = setInterval(() => {
    const busy = new Set([...table.all].map(({ destination }) => destination));
    const idle = (store.current.spec?.upstreams ?? [])
      .filter(({ name }) => !busy.has(name))
      .map(upstreamListenerName)
      .filter((listener) => performance.now() - (usedAt.get(listener) ?? 0) > IDLE_MS);
    drop(new Set(idle));
  }, SWEEP_MS);
  sweep.unref();

  return {
    async reach(target, timeoutMs, signal) {
      const upstream = toUpstream(target, timeoutMs);
      const listener = upstreamListenerName(upstream);
      const isNew = !usedAt.delete(listener);
      usedAt.set(listener, performance.now());
      if (isNew) {
        const [oldest] = usedAt.keys();
        if (usedAt.size > MAX_UPSTREAMS && oldest !== undefined) drop(new Set([oldest]));
        setUpstreams((all) => [...all, upstream]);
      }
      return until(() => proxy.outbound(listener), { timeoutMs, signal, what: `instances of '${target.name}'` });
    },
    [Symbol.dispose]: () => clearInterval(sweep),
  };
}

// The name of its listener is its key: nothing of what may differ between two calls may be in it.
function toUpstream({ name, kind, datacenter }: Target, connectTimeoutMs: number): UpstreamSpec {
  const bind = { host: "", port: 0 }; // it has no listener
  const maxConnections = DEFAULT_MAX_CONNECTIONS;
  return { name, kind, namespace: "default", datacenter, bind, connectTimeoutMs, maxConnections };
}

/** Waits on what the data plane knows, and says what it lacks where it waited in vain. */
export function createUntil({ store, proxy, link }: DataPlane, agent: string): Until {
  const waiting = new Set<() => void>();
  store.onChange(() => {
    for (const check of waiting) check();
  });
  return (find, { timeoutMs, signal, what }) =>
    new Promise((resolve, reject) => {
      const settle = (done: () => void) => {
        clearTimeout(timer);
        waiting.delete(check);
        signal?.removeEventListener("abort", onAbort);
        done();
      };
      const check = () => {
        const found = find();
        if (found !== undefined) settle(() => resolve(found));
      };
      const onAbort = () => settle(() => reject(signal?.reason as Error));
      const timer = setTimeout(() => {
        const missing = proxy.missing().join(", ") || what;
        const why = link.problem === undefined ? "" : ` (${link.problem})`;
        settle(() => reject(new TimeoutError(`the agent at ${agent} gave no ${missing} within ${timeoutMs} ms${why}`)));
      }, timeoutMs);
      if (signal?.aborted) return onAbort();
      signal?.addEventListener("abort", onAbort, { once: true });
      waiting.add(check);
      check();
    });
}
