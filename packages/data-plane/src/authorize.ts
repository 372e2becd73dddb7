/** May this caller talk to our service? Asked for each new connection, and again for each open one when rules change. */
import { decide, type Decision } from "@heddle/intentions";
import type { ServiceId } from "@heddle/spiffe";
import type { Refusal } from "./refusal.ts";
import type { ProxySpec } from "./spec.ts";
import type { Rules } from "./snapshot.ts";

export type Authorize = (caller: Pick<ServiceId, "service" | "namespace">) => Decision;

/** Decisions under one set of rules; each caller's is computed once. */
export function createAuthorizer(spec: ProxySpec, rules: Rules | undefined): Authorize {
  const known = new Map<string, Decision>();
  return (caller) => {
    const key = `${caller.namespace}/${caller.service}`;
    let decision = known.get(key);
    if (!decision) {
      decision = rules
        ? decide({
            ...rules,
            source: caller.service,
            sourceNS: caller.namespace,
            destination: spec.service,
            destinationNS: spec.namespace,
          })
        : { allowed: false, reason: "the intentions are not known yet", trace: [] };
      known.set(key, decision);
    }
    return decision;
  };
}

export function toRefusal(decision: Decision, source: string, destination: string): Refusal {
  return { code: "intention", source, destination, rule: decision.rule?.text, reason: decision.reason };
}
