/**
 * Who may talk to whom: a pure function from rules and two names to a decision and its reason. The agent's
 * `authorize`, the catalog's `check` and every proxy's public listener ask it, so all of them agree.
 */
import {
  allowsBytes,
  DEFAULT_NAMESPACE,
  demandedTokens,
  formatIntention,
  hasPermissions,
  type Intention,
  matchOrder,
  precedence,
  WILDCARD,
} from "./intention.ts";

export const REASON_ACLS_DISABLED = "ACLs disabled, access is allowed by default";
export const REASON_DEFAULT_POLICY = "Default behavior configured by ACLs";

export interface DecideInput {
  /** In any order; rules about other services are passed over. */
  intentions: Iterable<Intention>;
  source: string;
  destination: string;
  sourceNS?: string;
  destinationNS?: string;
  /** What holds where no rule matches. */
  defaultAllow: boolean;
  /** The reason given where no rule matches. Default: Consul's words for "ACLs are off" or "ACL default policy". */
  defaultReason?: string;
}

/** The rule that decided. */
export interface DecidingRule {
  id: string;
  source: string;
  destination: string;
  action: string;
  precedence: number;
  /** "DENY default/web => default/db (ID: …, Precedence: 9)". */
  text: string;
}

export interface TraceStep {
  rule: string;
  outcome: "decides" | "shadowed";
}

export interface Decision {
  allowed: boolean;
  /** As Consul's authorize endpoint words it. */
  reason: string;
  rule?: DecidingRule;
  /** Every rule that matches, in the order in which they are tried; the first one decides alone. */
  trace: TraceStep[];
}

export function decide(input: DecideInput): Decision {
  const matching = matchingRules(input);
  const winner = matching[0];
  if (!winner) {
    const byDefault = input.defaultAllow ? REASON_ACLS_DISABLED : REASON_DEFAULT_POLICY;
    return { allowed: input.defaultAllow, reason: input.defaultReason ?? byDefault, trace: [] };
  }
  const text = formatIntention(winner);
  return {
    allowed: allowsBytes(winner),
    reason: `Matched intention: ${text}${winner.Action === "allow" && winner.JWT ? `: ${whyTokenDenies(winner)}` : ""}`,
    rule: {
      id: winner.ID,
      source: winner.SourceName,
      destination: winner.DestinationName,
      action: hasPermissions(winner) ? "permissions" : winner.Action,
      precedence: precedence(winner),
      text,
    },
    trace: matching.map((rule, i) => ({ rule: formatIntention(rule), outcome: i === 0 ? "decides" : "shadowed" })),
  };
}

/** Why a rule that demands a token denies connections. */
export function whyTokenDenies(rule: Pick<Intention, "JWT">): string {
  const names = demandedTokens(rule);
  return `it demands a token${names.length > 0 ? ` of ${names.join(" or ")}` : ""}, and connections carry none`;
}

/** The rules that match, in the order in which they are tried. */
export function matchingRules(input: DecideInput): Intention[] {
  const { sourceNS = DEFAULT_NAMESPACE, destinationNS = DEFAULT_NAMESPACE } = input;
  // As in Consul, the destination is looked up without regard to case (so is a service in the catalog), while the
  // caller's name is part of an identity and is compared byte by byte.
  const destination = input.destination.toLowerCase();
  const found: Intention[] = [];
  for (const rule of input.intentions) {
    if (rule.SourcePeer) continue;
    if (rule.DestinationName !== WILDCARD && rule.DestinationName.toLowerCase() !== destination) continue;
    if (rule.SourceName !== WILDCARD && rule.SourceName !== input.source) continue;
    if (!sameOrWildcard(rule.DestinationNS, destinationNS)) continue;
    if (!sameOrWildcard(rule.SourceNS, sourceNS)) continue;
    found.push(rule);
  }
  return found.sort(matchOrder);
}

function sameOrWildcard(ruleNamespace: string | undefined, namespace: string): boolean {
  return ruleNamespace === WILDCARD || (ruleNamespace || DEFAULT_NAMESPACE) === namespace;
}
