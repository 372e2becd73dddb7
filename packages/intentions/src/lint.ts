/** Rules that never change an outcome: without any one of them, every pair of services is decided as before. */
import { DEFAULT_NAMESPACE, hasPermissions, type Intention, precedence, WILDCARD } from "./intention.ts";

export interface IdleRule {
  rule: Intention;
  /** The rules, or the default, that decide the same without it. */
  because: string;
}

/** Finds the idle rules. Rules of other namespaces and of peers are left out: who they are about is not known here. */
export function findIdleRules(intentions: Iterable<Intention>, defaultAllow: boolean): IdleRule[] {
  const rules = [...intentions].filter(isLocal).sort((a, b) => precedence(b) - precedence(a));
  const first = new Map<string, Intention>(); // the one that counts of each pair
  const wideSources = new Map<string, Intention>(); // source -> any, by source
  for (const rule of rules) {
    const key = pairKey(rule.SourceName, rule.DestinationName);
    if (first.has(key)) continue;
    first.set(key, rule);
    if (rule.DestinationName === WILDCARD && rule.SourceName !== WILDCARD) wideSources.set(rule.SourceName, rule);
  }
  const find = (source: string, destination: string) => first.get(pairKey(source, destination));
  const byDefault = defaultAllow ? "allow" : "deny";

  /** What could decide in a rule's place, over all pairs that it decides; undefined stands for the default. */
  function next({ SourceName: source, DestinationName: destination }: Intention): (Intention | undefined)[] {
    const any = find(WILDCARD, WILDCARD);
    if (source !== WILDCARD && destination !== WILDCARD)
      return [find(WILDCARD, destination) ?? find(source, WILDCARD) ?? any];
    if (destination !== WILDCARD) {
      const others = [...wideSources.values()].filter((wide) => !find(wide.SourceName, destination));
      return [any, ...others];
    }
    return source === WILDCARD ? [undefined] : [any];
  }

  return rules.flatMap((rule) => {
    const twin = find(rule.SourceName, rule.DestinationName);
    if (twin && twin !== rule) return [{ rule, because: `${describe(twin)} is about the same two and comes first` }];
    const own = outcome(rule);
    const others = next(rule);
    if (!others.every((other) => (other ? outcome(other) : byDefault) === own)) return [];
    const names = [...new Set(others.map((other) => (other ? describe(other) : `the default (${byDefault})`)))];
    const more = names.length > MAX_NAMED ? ` and ${names.length - MAX_NAMED} more` : "";
    return [{ rule, because: `${names.slice(0, MAX_NAMED).join(", ")}${more} would decide the same` }];
  });
}

const MAX_NAMED = 3;

// The destination is looked up without regard to case, the source to the letter, as `decide` does.
const pairKey = (source: string, destination: string): string => JSON.stringify([source, destination.toLowerCase()]);

// Rules on requests are none like another: they deny connections now, and say something else where requests are seen.
const outcome = (rule: Intention): string =>
  hasPermissions(rule) || (rule.JWT && rule.Action === "allow") ? `permissions of ${rule.ID}` : rule.Action;

const describe = (rule: Intention): string =>
  `${rule.SourceName} -> ${rule.DestinationName} (${hasPermissions(rule) ? "permissions" : rule.Action})`;

const isLocal = (rule: Intention): boolean =>
  !rule.SourcePeer &&
  (rule.SourceNS || DEFAULT_NAMESPACE) === DEFAULT_NAMESPACE &&
  (rule.DestinationNS || DEFAULT_NAMESPACE) === DEFAULT_NAMESPACE;
