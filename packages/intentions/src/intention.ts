/** An intention says whether one service may open connections to another. The keys are those of Consul's HTTP API. */

export type IntentionAction = "allow" | "deny";

export interface Intention {
  ID: string;
  Description: string;
  SourceNS: string;
  SourceName: string;
  DestinationNS: string;
  DestinationName: string;
  SourceType: string;
  /** Empty on an intention with `Permissions`. */
  Action: string;
  Meta: Record<string, string>;
  Precedence: number;
  CreatedAt: string;
  UpdatedAt: string;
  CreateIndex: number;
  ModifyIndex: number;
  /** Rules on HTTP requests (layer 7). A proxy of bytes cannot judge them: `decide` takes them as deny. */
  Permissions?: unknown[] | null;
  /** A token that its destination demands of every request: a proxy of bytes sees none, and `decide` takes it as deny. */
  JWT?: { Providers?: { Name: string }[] } | null;
  /** Set on rules for callers of another cluster; such a rule never matches a caller of ours. */
  SourcePeer?: string;
}

export const WILDCARD = "*";
export const DEFAULT_NAMESPACE = "default";

/** The four names that a rule is about; what `precedence` and `matchOrder` need. An absent namespace is "default". */
export type IntentionNames = Pick<Intention, "SourceName" | "DestinationName"> &
  Partial<Pick<Intention, "SourceNS" | "DestinationNS">>;

/**
 * How exact a rule is, 1 to 9: the destination counts first (9, 6, 3 at most), then the source.
 * Without namespaces only 9, 8, 6 and 5 occur.
 */
export function precedence(names: IntentionNames): number {
  const most = 3 + 3 * exactParts(names.DestinationNS, names.DestinationName);
  return most - (2 - exactParts(names.SourceNS, names.SourceName));
}

function exactParts(namespace: string | undefined, name: string): 0 | 1 | 2 {
  if (namespace === WILDCARD) return 0;
  return name === WILDCARD ? 1 : 2;
}

/** Compares rules in the order in which they are tried: most exact first, then by their four names. For `Array.sort`. */
export function matchOrder(a: IntentionNames, b: IntentionNames): number {
  return (
    precedence(b) - precedence(a) ||
    byBytes(a.SourceNS ?? DEFAULT_NAMESPACE, b.SourceNS ?? DEFAULT_NAMESPACE) ||
    byBytes(a.SourceName, b.SourceName) ||
    byBytes(a.DestinationNS ?? DEFAULT_NAMESPACE, b.DestinationNS ?? DEFAULT_NAMESPACE) ||
    byBytes(a.DestinationName, b.DestinationName)
  );
}

function byBytes(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** One rule as Consul writes it: "DENY default/web => default/db (ID: …, Precedence: 9)". */
export function formatIntention(
  intention: IntentionNames & Pick<Intention, "ID" | "Action"> & { Permissions?: unknown[] | null },
): string {
  const { SourceNS = DEFAULT_NAMESPACE, DestinationNS = DEFAULT_NAMESPACE } = intention;
  const action = hasPermissions(intention) ? "PERMISSIONS" : intention.Action.toUpperCase();
  return (
    `${action} ${SourceNS}/${intention.SourceName} => ${DestinationNS}/${intention.DestinationName}` +
    ` (ID: ${intention.ID}, Precedence: ${precedence(intention)})`
  );
}

/** Names of those whose token a rule demands; empty where it demands none. */
export function demandedTokens({ JWT }: { JWT?: Intention["JWT"] | undefined }): string[] {
  return JWT ? (JWT.Providers ?? []).map(({ Name }) => Name) : [];
}

/** Whether it lets connections through: nothing but a plain "allow" does, not rules on requests, nor actions unknown to us. */
export function allowsBytes(intention: Pick<Intention, "Action"> & Partial<Intention>): boolean {
  return intention.Action === "allow" && !hasPermissions(intention) && !intention.JWT;
}

export function hasPermissions(intention: { Permissions?: unknown[] | null }): boolean {
  return Array.isArray(intention.Permissions) && intention.Permissions.length > 0;
}
