/** A compiled chain, with the keys of Consul's API: a graph of nodes that ends in targets. A key that may be absent is left out where it is empty. */
import type { LoadBalancer, MeshGateway, ResolverSubset, ServiceRoute, ServiceSplit } from "@heddle/config-entries";

/** One set of instances that traffic can end at. */
export interface ChainTarget {
  ID: string;
  Service: string;
  ServiceSubset?: string;
  Namespace: string;
  Datacenter: string;
  MeshGateway: MeshGateway;
  Subset: ResolverSubset;
  /** The service is outside of the mesh, and its SNI is its own. */
  External?: true;
  SNI: string;
  Name: string;
}

export interface ChainRoute {
  Definition: ServiceRoute;
  NextNode: string;
}

export interface ChainSplit {
  /** Only where the split says more than its weight: what to do with headers. */
  Definition?: ServiceSplit;
  /** Percent of what reaches the splitter, with two decimals. */
  Weight: number;
  NextNode: string;
}

export interface ChainFailover {
  Targets: string[];
}

export interface ChainResolver {
  /** Go's text. */
  ConnectTimeout: string;
  RequestTimeout?: string;
  /** No entry says anything of how the service is resolved. */
  Default?: true;
  Target: string;
  Failover?: ChainFailover;
}

/** The only node of its kind, where there is one: the first. */
export interface RouterNode {
  Type: "router";
  Name: string;
  Routes: ChainRoute[];
}

export interface SplitterNode {
  Type: "splitter";
  Name: string;
  Splits: ChainSplit[];
  /** The first hash-based one of the resolvers below. */
  LoadBalancer?: LoadBalancer;
}

export interface ResolverNode {
  Type: "resolver";
  Name: string;
  Resolver: ChainResolver;
  LoadBalancer?: LoadBalancer;
}

export type ChainNode = ResolverNode | RouterNode | SplitterNode;

export interface CompiledChain {
  ServiceName: string;
  Namespace: string;
  Datacenter: string;
  /** Equal for equal overrides that made a difference; absent where none did. */
  CustomizationHash?: string;
  Protocol: string;
  /** Key of the first node. */
  StartNode: string;
  /** By `<type>:<name>`; null-prototype, for names are anybody's. */
  Nodes: Record<string, ChainNode>;
  /** By their id; null-prototype. */
  Targets: Record<string, ChainTarget>;
}

/** The key of a node. */
export function nodeKey({ Type, Name }: Pick<ChainNode, "Name" | "Type">): string {
  return `${Type}:${Name}`;
}
