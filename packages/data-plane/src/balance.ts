/**
 * Which instance a connection goes to: the less loaded of two random ones, by its weight, and none that has just failed
 * several times. Pure but for what it counts: the socket code asks and tells.
 */
import { type Endpoint, pickOrder } from "./endpoints.ts";
import { formatHostPort } from "./spec.ts";

const EJECT_AFTER = 3; // failures in a row
const EJECT_MS = 1_000; // the first time; twice as long each next time
const MAX_EJECT_MS = 60_000;
const PANIC_SHARE = 0.5; // with more than this share left out, the failures say more about us than about them
const WARM_UP_MS = 10_000; // an instance that has just come gets its share little by little
const COLD = 0.1;

export interface Instance {
  readonly endpoint: Endpoint;
  /** Connections that it has from us. */
  active: number;
  /** Of connections of ours that have not reached it yet. */
  attempts: number;
  /** In a row. */
  failures: number;
  ejections: number;
  ejectedUntil: number;
  knownSince: number;
}

export interface Balancer {
  /** In which order one connection tries them: the chosen one, the others, and last those that are left out. */
  order(endpoints: readonly Endpoint[]): Instance[];
  /** Returns for how long the instance is left out from now on, if it is. */
  failed(instance: Instance): number | undefined;
  worked(instance: Instance): void;
  /** Whether it has failed so often that it was left out, and has not worked since. */
  isDoubtful(instance: Instance): boolean;
  /** Those of these endpoints, as they stand. */
  all(endpoints: readonly Endpoint[]): readonly Instance[];
  /** Of the endpoints last asked for. */
  counts(): { healthy: number; ejected: number };
}

export interface BalancerDeps {
  random?: (() => number) | undefined;
  /** Milliseconds that never go back. */
  now?: () => number;
}

export function createBalancer({ random = Math.random, now = () => performance.now() }: BalancerDeps = {}): Balancer {
  let instances: Instance[] = [];
  let of: readonly Endpoint[] | undefined;

  const isEjected = (instance: Instance, at: number) => instance.ejectedUntil > at;
  const isDoubtful = ({ ejections }: Instance) => ejections > 0;

  /** What is known of an instance stays with its address, whatever else changes around it. */
  const follow = (endpoints: readonly Endpoint[]): void => {
    const known = new Map(instances.map((instance) => [keyOf(instance.endpoint), instance]));
    const knownSince = of === undefined ? Number.NEGATIVE_INFINITY : now();
    of = endpoints;
    instances = endpoints.map((endpoint) => {
      const last = known.get(keyOf(endpoint));
      const fresh = { active: 0, attempts: 0, failures: 0, ejections: 0, ejectedUntil: 0, knownSince };
      // The same object where it is the same instance: open connections count down on it.
      return last ? Object.assign(last, { endpoint }) : { ...fresh, endpoint };
    });
  };

  const load = ({ active, attempts, endpoint, knownSince }: Instance, at: number): number => {
    const warmth = Math.min(1, COLD + (at - knownSince) / WARM_UP_MS);
    return (active + attempts + 1) / ((endpoint.weight ?? 1) * warmth);
  };

  return {
    order(endpoints) {
      if (endpoints !== of) follow(endpoints);
      if (instances.length < 2) return instances;
      const at = now();
      const ejected = instances.filter((instance) => isEjected(instance, at));
      const isPanic = ejected.length > instances.length * PANIC_SHARE;
      // One connection finds out whether a doubtful one works again; the others need not wait for it, too.
      const isOut = (i: Instance) => (!isPanic && isEjected(i, at)) || (isDoubtful(i) && i.attempts > 0);
      const out = instances.filter(isOut);
      const order = pickOrder(out.length === 0 ? instances : instances.filter((i) => !isOut(i)), random);
      // Two random ones stand first: the less loaded of them is the choice.
      const [first, second] = order;
      if (first && second && load(second, at) < load(first, at)) [order[0], order[1]] = [second, first];
      return out.length === 0 ? order : [...order, ...pickOrder(out, random)];
    },
    failed(instance) {
      instance.failures++;
      const at = now();
      if (instance.failures < EJECT_AFTER || isEjected(instance, at)) return undefined;
      const ms = Math.min(MAX_EJECT_MS, EJECT_MS * 2 ** instance.ejections++);
      instance.ejectedUntil = at + ms;
      instance.failures = EJECT_AFTER - 1; // after it, one failure is enough
      return ms;
    },
    worked(instance) {
      instance.failures = 0;
      instance.ejections = 0;
      instance.ejectedUntil = 0;
    },
    isDoubtful,
    all(endpoints) {
      if (endpoints !== of) follow(endpoints);
      return instances;
    },
    counts() {
      const at = now();
      const ejected = instances.filter((instance) => isEjected(instance, at)).length;
      return { healthy: instances.length - ejected, ejected };
    },
  };
}

function keyOf({ id, node, ...at }: Endpoint): string {
  return `${formatHostPort(at)} ${node} ${id}`;
}
