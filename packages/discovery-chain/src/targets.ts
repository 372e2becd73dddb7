/** The targets of one compilation: each made once, kept in the chain once a resolver leads to it. */
import type { ChainTarget } from "./chain.ts";
import { refuse } from "./errors.ts";

export const DEFAULT_NAMESPACE = "default";

// Each failover to a datacenter is a target, and a chain is sent whole to each proxy.
const MAX_TARGETS = 4_096;

/** What names a target; what is left out is taken over or has its default. */
export interface TargetName {
  service?: string | undefined;
  subset?: string | undefined;
  namespace?: string | undefined;
  datacenter?: string | undefined;
}

export class Targets {
  readonly #request: { service: string; datacenter: string; trustDomain: string };
  readonly #loaded = new Map<string, ChainTarget>();
  readonly #kept = new Set<string>();

  constructor(request: { service: string; datacenter: string; trustDomain: string }) {
    this.#request = request;
  }

  load({ service, subset, namespace, datacenter }: TargetName & { service: string }): ChainTarget {
    const Namespace = namespace || DEFAULT_NAMESPACE;
    const Datacenter = datacenter || this.#request.datacenter;
    const ID = `${subset ? `${subset}.` : ""}${service}.${Namespace}.${Datacenter}`;
    const known = this.#loaded.get(ID);
    if (known) return known;
    if (this.#loaded.size >= MAX_TARGETS)
      refuse(`discovery chain ${JSON.stringify(this.#request.service)} has more than ${MAX_TARGETS} targets`);
    const Name = `${ID}.internal.${this.#request.trustDomain}`;
    const target: ChainTarget = {
      ID,
      Service: service,
      ...(subset && { ServiceSubset: subset }),
      Namespace,
      Datacenter,
      MeshGateway: {},
      Subset: {},
      SNI: Name,
      Name,
    };
    this.#loaded.set(ID, target);
    return target;
  }

  /** The target that another one becomes by a redirect or a failover. */
  rewrite(target: ChainTarget, to: TargetName): ChainTarget {
    const service = to.service || target.Service;
    return this.load({
      service,
      // A subset is one of its service.
      subset: to.subset || (service === target.Service ? target.ServiceSubset : undefined),
      namespace: to.namespace || target.Namespace,
      datacenter: to.datacenter || target.Datacenter,
    });
  }

  keep(target: ChainTarget): void {
    this.#kept.add(target.ID);
  }

  /** The kept ones by id, in the order of their ids. */
  all(): Record<string, ChainTarget> {
    const out = Object.create(null) as Record<string, ChainTarget>;
    for (const id of [...this.#kept].sort()) out[id] = this.#loaded.get(id) as ChainTarget;
    return out;
  }
}
