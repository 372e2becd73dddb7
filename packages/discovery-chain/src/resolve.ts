/** Resolver nodes: where a target leads once redirects and default subsets are followed, and what it fails over to. */
import { type LoadBalancer, PROXY_DEFAULTS_NAME, type ServiceResolverEntry } from "@heddle/config-entries";
import { formatDuration, parseDuration } from "@heddle/daemon";
import type { ChainNode, ChainTarget, ResolverNode } from "./chain.ts";
import type { Customization } from "./customization.ts";
import { refuse } from "./errors.ts";
import type { Nodes } from "./graph.ts";
import type { ChainEntries, ChainRequest } from "./request.ts";
import type { Targets } from "./targets.ts";

const DEFAULT_CONNECT_TIMEOUT_MS = 5_000; // Consul's

export interface ResolverDeps {
  request: ChainRequest;
  entries: ChainEntries;
  targets: Targets;
  nodes: Nodes;
  customized: Customization;
  /** Refuses a service of another protocol than the chain's. */
  meet: (service: string) => void;
  record: (node: ChainNode) => void;
}

type Found = { target: ChainTarget; entry: ServiceResolverEntry | undefined };

/** Makes the function from a target to its node, which is made once. */
export function createResolver(deps: ResolverDeps): (target: ChainTarget) => ResolverNode {
  const { entries, targets, nodes, record } = deps;

  const known = (target: ChainTarget): ResolverNode | undefined =>
    nodes.get(`resolver:${target.ID}`) as ResolverNode | undefined;

  /** Follows redirects and default subsets up to a target that is known or has neither. */
  const follow = (from: ChainTarget): Found | ResolverNode => {
    const seen = new Set<string>();
    let target = from;
    for (;;) {
      const node = known(target);
      if (node) return node;
      deps.meet(target.Service);
      const entry = entries("service-resolver", target.Service);
      if (seen.has(target.ID)) refuse(`detected circular resolver redirect: [${[...seen, target.ID].join(" -> ")}]`);
      seen.add(target.ID);
      const next = redirected(targets, target, entry);
      if (next.ID === target.ID) return { target, entry };
      target = next;
    }
  };

  const resolve = (from: ChainTarget, isFailover: boolean): ResolverNode => {
    const found = follow(from);
    if ("Type" in found) return found;
    const { target, entry } = found;
    if (target.ServiceSubset && !Object.hasOwn(entry?.Subsets ?? {}, target.ServiceSubset))
      refuse(
        `service ${JSON.stringify(target.Service)} does not have a subset named ${JSON.stringify(target.ServiceSubset)}`,
      );
    const node = createNode(deps, found);
    targets.keep(target);
    // What is failed over to is a target, no node, and fails over no further.
    if (isFailover) return node;
    record(node);
    const to = failoverTargets(targets, found).map((t) => resolve(t, true).Resolver.Target);
    if (to.length > 0) node.Resolver.Failover = { Targets: to };
    return node;
  };

  return (target) => resolve(target, false);
}

function redirected(targets: Targets, target: ChainTarget, entry: ServiceResolverEntry | undefined): ChainTarget {
  const { Redirect, DefaultSubset } = entry ?? {};
  if (Redirect) {
    const { Service, ServiceSubset, Namespace, Datacenter } = Redirect;
    const to = { service: Service, subset: ServiceSubset, namespace: Namespace, datacenter: Datacenter };
    const next = targets.rewrite(target, to);
    if (next.ID !== target.ID) return next;
  }
  return !target.ServiceSubset && DefaultSubset ? targets.rewrite(target, { subset: DefaultSubset }) : target;
}

function failoverTargets(targets: Targets, { target, entry }: Found): ChainTarget[] {
  const all = entry?.Failover ?? {};
  const key = Object.hasOwn(all, target.ServiceSubset ?? "") ? (target.ServiceSubset ?? "") : "*";
  const failover = Object.hasOwn(all, key) ? all[key] : undefined;
  if (!failover) return [];
  const { Service, ServiceSubset, Namespace, Datacenters } = failover;
  const to = { service: Service, subset: ServiceSubset, namespace: Namespace };
  const found = Datacenters?.length
    ? Datacenters.map((datacenter) => targets.rewrite(target, { ...to, datacenter }))
    : [targets.rewrite(target, to)];
  return found.filter((t) => t.ID !== target.ID);
}

function createNode(deps: ResolverDeps, { target, entry }: Found): ResolverNode {
  const { ExternalSNI = "" } = deps.entries("service-defaults", target.Service) ?? {};
  target.Subset = entry?.Subsets?.[target.ServiceSubset ?? ""] ?? {};
  if (ExternalSNI !== "") {
    refuseExternal(target, entry);
    target.External = true;
    target.SNI = ExternalSNI;
  }
  const mode = gatewayMode(deps, target);
  target.MeshGateway = mode === "" ? {} : { Mode: mode };
  return {
    Type: "resolver",
    Name: target.ID,
    Resolver: {
      ConnectTimeout: formatDuration(connectTimeoutMs(deps, entry)),
      ...(entry?.RequestTimeout && { RequestTimeout: entry.RequestTimeout }),
      ...(isDefault(entry) && { Default: true as const }),
      Target: target.ID,
    },
    ...(entry?.LoadBalancer && { LoadBalancer: entry.LoadBalancer }),
  };
}

function refuseExternal({ Service }: ChainTarget, entry: ServiceResolverEntry | undefined): void {
  const isUsed = (map: object | undefined) => Object.keys(map ?? {}).length > 0;
  const what = entry?.Redirect
    ? "redirects"
    : isUsed(entry?.Subsets)
      ? "subsets"
      : isUsed(entry?.Failover)
        ? "failover"
        : undefined;
  if (what)
    refuse(`service ${JSON.stringify(Service)} has an external SNI set; cannot define ${what} for external services`);
}

/** Gateways are for other datacenters, and not for services outside of the mesh. */
function gatewayMode({ request, entries, customized }: ResolverDeps, target: ChainTarget): string {
  if (target.External || target.Datacenter === (request.localDatacenter ?? request.datacenter)) return "";
  const own = entries("service-defaults", target.Service)?.MeshGateway?.Mode;
  const mode = own || (entries("proxy-defaults", PROXY_DEFAULTS_NAME)?.MeshGateway?.Mode ?? "");
  const wanted = request.overrides?.meshGatewayMode;
  if (!wanted || wanted === mode) return mode;
  customized.meshGatewayMode = wanted;
  return wanted;
}

function connectTimeoutMs({ request, customized }: ResolverDeps, entry: ServiceResolverEntry | undefined): number {
  const own = entry?.ConnectTimeout ? parseDuration(entry.ConnectTimeout) : 0;
  const timeout = own > 0 ? own : DEFAULT_CONNECT_TIMEOUT_MS;
  const wanted = request.overrides?.connectTimeoutMs ?? 0;
  if (wanted <= 0 || wanted === timeout) return timeout;
  customized.connectTimeoutMs = wanted;
  return wanted;
}

function isDefault(entry: ServiceResolverEntry | undefined): boolean {
  if (!entry) return true;
  const { DefaultSubset, Subsets, Redirect, Failover, ConnectTimeout, RequestTimeout, LoadBalancer } = entry;
  const isEmpty = (map: object | undefined) => Object.keys(map ?? {}).length === 0;
  const isTimed = Boolean(ConnectTimeout || RequestTimeout);
  return !DefaultSubset && isEmpty(Subsets) && !Redirect && isEmpty(Failover) && !isTimed && !LoadBalancer;
}

/** Whether a policy sends equal requests to one instance. */
export function isHashBased(balancer: LoadBalancer | undefined): boolean {
  return balancer?.Policy === "maglev" || balancer?.Policy === "ring_hash";
}
