/**
 * Compiles a service's discovery chain: from the router of the name that is dialled, through splitters, to the resolvers and
 * their targets. A pure function; the words of its refusals are Consul's, for they are shown to whoever writes an entry.
 */
import type { ServiceRouterEntry, ServiceSplit } from "@heddle/config-entries";
import { type ChainNode, type CompiledChain, nodeKey, type SplitterNode } from "./chain.ts";
import { customizationHash } from "./customization.ts";
import { ChainError, refuse } from "./errors.ts";
import { flattenSplitters, type Nodes, refuseLoops, removeUnused } from "./graph.ts";
import { isHttpLike, protocolOf } from "./protocol.ts";
import type { ChainEntries, ChainRequest, ChainResult } from "./request.ts";
import { createResolver, isHashBased } from "./resolve.ts";
import { DEFAULT_NAMESPACE, type TargetName, Targets } from "./targets.ts";

// A chain is sent whole to each proxy, and is walked down by recursion.
const MAX_NODES = 2_048;

/** The chain that the entries make of a service, or why they make none. */
export function compileChain(request: ChainRequest, entries: ChainEntries): ChainResult {
  try {
    return { chain: new Compiler(request, entries).compile() };
  } catch (error) {
    if (error instanceof ChainError) return { error: error.message };
    throw error;
  }
}

class Compiler {
  readonly #request: ChainRequest;
  readonly #entries: ChainEntries;
  readonly #nodes: Nodes = new Map();
  readonly #targets: Targets;
  readonly #resolve: ReturnType<typeof createResolver>;
  /** The overrides that made a difference. */
  readonly #customized = { meshGatewayMode: "", protocol: "", connectTimeoutMs: 0 };
  readonly #usesRouting: boolean;
  #protocol = "";
  #isRouted = false;

  constructor(request: ChainRequest, entries: ChainEntries) {
    this.#request = request;
    this.#entries = entries;
    this.#targets = new Targets(request);
    const { protocol } = request.overrides ?? {};
    this.#usesRouting = !protocol || isHttpLike(protocol);
    this.#resolve = createResolver({
      request,
      entries,
      targets: this.#targets,
      nodes: this.#nodes,
      customized: this.#customized,
      meet: (service) => this.#meet(service),
      record: (node) => this.#record(node),
    });
  }

  compile(): CompiledChain {
    const { service, datacenter, overrides } = this.#request;
    const start = this.#assemble();
    refuseLoops(this.#nodes, start);
    flattenSplitters(this.#nodes, service);
    removeUnused(this.#nodes, start);
    if (this.#isRouted && !isHttpLike(this.#protocol))
      refuse(
        `discovery chain ${JSON.stringify(service)} uses a protocol ${JSON.stringify(this.#protocol)} that does not permit advanced routing or splitting behavior`,
      );
    const Protocol = overrides?.protocol || this.#protocol;
    if (Protocol !== this.#protocol) this.#customized.protocol = Protocol;
    const CustomizationHash = customizationHash(this.#customized);
    return {
      ServiceName: service,
      Namespace: DEFAULT_NAMESPACE,
      Datacenter: datacenter,
      ...(CustomizationHash && { CustomizationHash }),
      Protocol,
      StartNode: start,
      Nodes: sortedNodes(this.#nodes),
      Targets: this.#targets.all(),
    };
  }

  #assemble(): string {
    const { service } = this.#request;
    const router = this.#advanced("service-router", service);
    return router ? this.#route(router) : this.#splitOrResolve({ service });
  }

  #route(router: ServiceRouterEntry): string {
    const { service } = this.#request;
    const node: ChainNode = { Type: "router", Name: `${router.Name}.${DEFAULT_NAMESPACE}`, Routes: [] };
    this.#isRouted = true;
    this.#meet(router.Name);
    for (const Definition of router.Routes ?? []) {
      const { Service, ServiceSubset, Namespace } = Definition.Destination ?? {};
      const name = { service: Service || service, subset: ServiceSubset, namespace: Namespace };
      const NextNode = ServiceSubset ? this.#resolveTo(name) : this.#splitOrResolve(name);
      node.Routes.push({ Definition, NextNode });
    }
    // What no route matches goes where it would go without the router.
    node.Routes.push({
      Definition: {
        Match: { HTTP: { PathPrefix: "/" } },
        Destination: { Service: router.Name, Namespace: DEFAULT_NAMESPACE },
      },
      NextNode: this.#splitOrResolve({ service: router.Name }),
    });
    this.#record(node);
    return nodeKey(node);
  }

  #splitOrResolve(name: TargetName & { service: string }): string {
    return this.#split(name.service, name.namespace) ?? this.#resolveTo(name);
  }

  #resolveTo(name: TargetName & { service: string }): string {
    return nodeKey(this.#resolve(this.#targets.load(name)));
  }

  /** The key of a service's splitter; undefined where it has none. */
  #split(service: string, namespace: string | undefined): string | undefined {
    const Name = `${service}.${namespace || DEFAULT_NAMESPACE}`;
    const key = `splitter:${Name}`;
    if (this.#nodes.has(key)) return key;
    const entry = this.#advanced("service-splitter", service);
    if (!entry) return undefined;
    const node: SplitterNode = { Type: "splitter", Name, Splits: [] };
    this.#record(node); // before what is below: a loop ends here, and is refused afterwards
    for (const split of entry.Splits ?? []) {
      const to = { service: split.Service || service, subset: split.ServiceSubset, namespace: split.Namespace };
      const below = to.service !== service && !to.subset ? this.#split(to.service, to.namespace) : undefined;
      const NextNode = below ?? this.#resolveTo(to);
      const Definition = definitionOf(split);
      node.Splits.push({ ...(Definition && { Definition }), Weight: split.Weight, NextNode });
      const next = this.#nodes.get(NextNode);
      // One splitter can hash in one way only: the first that it meets.
      if (next?.Type === "resolver" && !node.LoadBalancer && isHashBased(next.LoadBalancer))
        node.LoadBalancer = next.LoadBalancer;
    }
    this.#isRouted = true;
    return key;
  }

  /** A router or a splitter, unless the caller's protocol knows of none. */
  #advanced<K extends "service-router" | "service-splitter">(kind: K, service: string) {
    const entry = this.#entries(kind, service);
    if (!entry || this.#usesRouting) return entry;
    this.#customized.protocol = this.#request.overrides?.protocol ?? "";
    return undefined;
  }

  /** Refuses a service that does not speak what the others of the chain do. */
  #meet(service: string): void {
    const protocol = protocolOf(this.#entries, service);
    this.#protocol ||= protocol;
    if (protocol !== this.#protocol)
      refuse(
        `discovery chain ${JSON.stringify(this.#request.service)} uses inconsistent protocols; service ${JSON.stringify(service)} has ${JSON.stringify(protocol)} which is not ${JSON.stringify(this.#protocol)}`,
      );
  }

  #record(node: ChainNode): void {
    if (this.#nodes.size >= MAX_NODES)
      refuse(`discovery chain ${JSON.stringify(this.#request.service)} has more than ${MAX_NODES} nodes`);
    this.#nodes.set(nodeKey(node), node);
  }
}

/** What a split says beside its weight and where it leads to; versions after 1.8 answer it. */
function definitionOf(split: ServiceSplit): ServiceSplit | undefined {
  return split.RequestHeaders || split.ResponseHeaders ? split : undefined;
}

function sortedNodes(nodes: Nodes): Record<string, ChainNode> {
  const out = Object.create(null) as Record<string, ChainNode>;
  for (const key of [...nodes.keys()].sort()) out[key] = nodes.get(key) as ChainNode;
  return out;
}
