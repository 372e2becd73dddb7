/** What a proxy has to know, kept so: its registration, and what that makes it want, each in a watch of its own. */
import type { ApiClient } from "@heddle/api-client";
import type { Logger } from "@heddle/daemon";
import type { AgentLink } from "./agent-link.ts";
import { type SnapshotStore, upstreamKey } from "./snapshot.ts";
import { createSources } from "./sources.ts";
import type { ProxySpec } from "./spec.ts";
import { createWatchSet, type WatchLoop } from "./watches.ts";

export interface FollowDeps {
  client: ApiClient;
  store: SnapshotStore;
  link: AgentLink;
  log: Logger;
  /** Where the spec comes from: a registered proxy, or flags. */
  origin: { proxyId: string } | { spec: ProxySpec };
}

/** Fills the store from the agent from now on. Returns what ends that. */
export function followAgent({ client, store, link, log, origin }: FollowDeps): () => Promise<void> {
  const watches = createWatchSet((key, error) => log.error("a watch ended", { watch: key, error: String(error) }));
  const sources = createSources({ client, store, link, log });

  const watchWhatIsWanted = () => {
    const { spec, leaf } = store.current;
    const loops = new Map<string, WatchLoop>([
      ["roots", sources.roots],
      ["revocations", sources.revocations],
    ]);
    if ("proxyId" in origin) loops.set("registration", sources.registration(origin.proxyId));
    if (spec) {
      if (leaf && leaf.service !== spec.service) {
        store.set("leaf", undefined);
        store.set("rules", undefined);
      }
      loops.set(`leaf ${spec.service}`, sources.leaf(spec.service));
      if (spec.public) loops.set(`rules ${spec.service}`, sources.rules(spec.service));
      for (const upstream of spec.upstreams)
        loops.set(`endpoints ${upstreamKey(upstream)}`, sources.endpoints(upstream));
    }
    watches.want(loops);
  };

  store.onChange((part) => {
    if (part === "spec") watchWhatIsWanted();
  });
  if ("spec" in origin) store.set("spec", origin.spec);
  else watchWhatIsWanted();
  return () => watches.close();
}
