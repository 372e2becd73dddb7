/** The proxies of this process: one, or one for each sidecar of a node. Each follows the agent by itself; all share threads. */
import type { ApiClient } from "@heddle/api-client";
import { type Health, type Logger, UnavailableError } from "@heddle/daemon";
import {
  type AgentLink,
  type Carrier,
  createSnapshotStore,
  followAgent,
  type Address,
  type ProxySpec,
} from "@heddle/data-plane";
import type { Handle } from "./hand-over/adopt.ts";
import type { Saved, SnapshotFile } from "./saved.ts";
import type { Crew } from "./threads/crew.ts";
import { createUnit, type Unit } from "./unit.ts";

const ASK_MS = 2_000; // an agent that is there answers sooner

export interface ProxiesDeps {
  client: ApiClient;
  link: AgentLink;
  carrier: Carrier;
  crew: Crew;
  log: Logger;
  /** Where another process of ours listens, and shares until it goes. */
  mayShare: (bind: Address) => boolean;
  /** The sockets that it has given us. */
  adopt: (at: string) => Handle[];
}

export interface StartOptions {
  /** Tells it from the others; a registered proxy's own. */
  id: string;
  origin: { proxyId: string } | { spec: ProxySpec };
  /** Where its snapshot is kept, and what was found there. */
  file?: SnapshotFile | undefined;
  saved?: Saved | undefined;
  log?: Logger;
}

export interface Proxies {
  readonly all: ReadonlyMap<string, Unit>;
  start(options: StartOptions): Promise<Unit>;
  /** Ends one: no new connections; those that are open may go on for `drainMs`. */
  end(id: string, drainMs: number): Promise<void>;
  /** Identity and listeners of all. */
  health(): { identity: Health; listeners: Health };
}

export function createProxies({ client, link, carrier, crew, log, mayShare, adopt }: ProxiesDeps): Proxies {
  const all = new Map<string, Unit>();
  const closers = new Map<string, () => Promise<void>>();

  const nameOf = ({ id }: Unit) => (all.size > 1 ? `${id}: ` : "");
  return {
    all,
    async start({ id, origin, file, saved, log: own = log }) {
      const store = createSnapshotStore();
      const unit: Unit = createUnit({
        id,
        store,
        carrier,
        log: own,
        mayShare,
        adopt,
        onChange: () => crew.stand(unit),
      });
      all.set(id, unit);
      crew.add(unit);
      const unfollow = followAgent({ client, store, link, log: own, origin });
      if (saved && !(await answers(client))) {
        own.warn("no agent answers: serving what was saved", { saved_at: saved.savedAt });
        link.isOld(saved.ageMs);
        saved.restore(store);
      }
      const unsave = file?.follow(store, "proxyId" in origin ? origin.proxyId : "", () => link.isUp);
      closers.set(id, async () => {
        await unsave?.(); // first: without its watches the snapshot loses what it holds
        await unfollow();
      });
      return unit;
    },
    async end(id, drainMs) {
      const unit = all.get(id);
      const close = closers.get(id);
      if (!unit || !close) return;
      closers.delete(id);
      await crew.end(unit, drainMs);
      await close();
      all.delete(id);
    },
    health() {
      const units = [...all.values()];
      const identity = units.flatMap((unit) => {
        const missing = unit.carried.proxy.missing();
        const problem = missing.length > 0 ? `waiting for ${missing.join(", ")}` : unit.carried.proxy.identityProblem();
        return problem === undefined ? [] : [`${nameOf(unit)}${problem}`];
      });
      const listeners = units.flatMap((unit) =>
        unit.listeners
          .states()
          .filter(({ address }) => !address)
          .map(({ error, name }) => `${nameOf(unit)}${error ?? `${name}: not open yet`}`),
      );
      return { identity: part(identity), listeners: part(listeners) };
    },
  };
}

function part(problems: string[]): Health {
  const ready = problems.length === 0;
  return { started: true, live: true, ready, ...(!ready && { details: problems.join("; ") }) };
}

export async function answers(client: Pick<ApiClient, "get">): Promise<boolean> {
  try {
    await client.get("/v1/agent/self", { timeoutMs: ASK_MS });
    return true;
  } catch (error) {
    return !(error instanceof UnavailableError);
  }
}
