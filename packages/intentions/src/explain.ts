/** A decision with all that led to it: each rule that could have matched, why it lost, and what would hold without any. */
import { decide, type DecideInput, type Decision, matchingRules, whyTokenDenies } from "./decide.ts";
import { DEFAULT_NAMESPACE, hasPermissions, type Intention, matchOrder, precedence, WILDCARD } from "./intention.ts";

export interface ExplainedRule {
  ID: string;
  Source: string;
  Destination: string;
  /** "allow", "deny" or "permissions". */
  Action: string;
  Precedence: number;
  Description?: string;
}

export interface ExplainedStep extends ExplainedRule {
  /** "passed over": looks as if it were meant, but does not match. */
  Outcome: "decides" | "passed over" | "shadowed";
  Why: string;
}

export interface Explanation {
  Source: string;
  Destination: string;
  Allowed: boolean;
  /** As authorize words it. */
  Reason: string;
  /** The rule that decides, or null where the default does. */
  Rule: ExplainedRule | null;
  /** What would hold if no rule matched. */
  Default: { Allowed: boolean; Reason: string };
  /** Rules in the order in which they are tried, then those that are passed over. */
  Trace: ExplainedStep[];
}

/** Explains what `decide` says of the same input. */
export function explain(input: DecideInput): Explanation {
  const rules = [...input.intentions];
  const matching = matchingRules({ ...input, intentions: rules });
  const matched = new Set(matching);
  const decision = decide({ ...input, intentions: matching });
  const byDefault = decide({ ...input, intentions: [] });
  const winner = matching[0];
  const trace = matching.map((rule, i) =>
    i === 0
      ? { ...show(rule), Outcome: "decides" as const, Why: whyItDecides(rule, matching.length) }
      : { ...show(rule), Outcome: "shadowed" as const, Why: whyItLoses(rule, winner as Intention) },
  );
  const passedOver = rules
    .filter((rule) => !matched.has(rule))
    .sort(matchOrder)
    .flatMap((rule) => {
      const why = nearMiss(rule, input);
      return why === undefined ? [] : [{ ...show(rule), Outcome: "passed over" as const, Why: why }];
    });
  return {
    Source: input.source,
    Destination: input.destination,
    Allowed: decision.allowed,
    Reason: decision.reason,
    Rule: winner ? show(winner) : null,
    Default: toDefault(byDefault),
    Trace: [...trace, ...passedOver],
  };
}

const toDefault = ({ allowed, reason }: Decision) => ({ Allowed: allowed, Reason: reason });

function show(rule: Intention): ExplainedRule {
  return {
    ID: rule.ID,
    Source: named(rule.SourceNS, rule.SourceName),
    Destination: named(rule.DestinationNS, rule.DestinationName),
    Action: hasPermissions(rule) ? "permissions" : rule.Action,
    Precedence: precedence(rule),
    ...(rule.Description && { Description: rule.Description }),
  };
}

const named = (namespace: string | undefined, name: string): string =>
  (namespace || DEFAULT_NAMESPACE) === DEFAULT_NAMESPACE ? name : `${namespace}/${name}`;

function whyItDecides(rule: Intention, count: number): string {
  const why = count === 1 ? "the only rule that matches" : "the most exact rule that matches";
  if (hasPermissions(rule))
    return `${why}; it has rules on requests, which connections cannot be held against, so it denies`;
  return rule.Action === "allow" && rule.JWT ? `${why}; ${whyTokenDenies(rule)}, so it denies` : why;
}

function whyItLoses(rule: Intention, winner: Intention): string {
  const [own, best] = [precedence(rule), precedence(winner)];
  if (own === best) return `as exact as the rule that decides (precedence ${own}), and after it in order`;
  const isWider = winner.DestinationName !== WILDCARD && rule.DestinationName === WILDCARD;
  const what = isWider ? "its destination is any service" : "its source is any service";
  return `less exact than the rule that decides: precedence ${own} and not ${best}, for ${what}`;
}

/** Why a rule that names both services, or looks as if it did, is about neither; undefined where nobody would expect it. */
function nearMiss(rule: Intention, input: DecideInput): string | undefined {
  const looksLike = (pattern: string, name: string) =>
    pattern === WILDCARD || pattern.trim().toLowerCase() === name.trim().toLowerCase();
  if (!looksLike(rule.SourceName, input.source) || !looksLike(rule.DestinationName, input.destination))
    return undefined;
  if (rule.SourcePeer) return `its source is of the peer "${rule.SourcePeer}", not of this cluster`;
  for (const [what, has, wanted] of [
    ["source", rule.SourceNS, input.sourceNS],
    ["destination", rule.DestinationNS, input.destinationNS],
  ] as const) {
    const [own, asked] = [has || DEFAULT_NAMESPACE, wanted || DEFAULT_NAMESPACE];
    if (own !== WILDCARD && own !== asked) return `its ${what} is in the namespace "${own}", not "${asked}"`;
  }
  if (rule.SourceName !== WILDCARD && rule.SourceName !== input.source)
    return `its source is "${rule.SourceName}": identities are compared to the letter`;
  return `its destination is "${rule.DestinationName}", with other spaces`;
}
