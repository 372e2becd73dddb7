/**
 * SPIFFE IDs as Consul's mesh writes them, and Heddle's own for daemons (SPIFFE-ID §2). Text is accepted only in its one
 * canonical form, so that equal identities are equal bytes and nothing has to be decoded before a comparison.
 */
import { IdentityError } from "./errors.ts";
import { isTrustDomain, MAX_TRUST_DOMAIN_BYTES } from "./trust-domain.ts";

export interface ServiceId {
  kind: "service";
  trustDomain: string;
  /** Absent in the default partition. */
  partition?: string;
  namespace: string;
  datacenter: string;
  service: string;
}

/** A node's agent. */
export interface AgentId {
  kind: "agent";
  trustDomain: string;
  partition?: string;
  datacenter: string;
  node: string;
}

export interface ServerId {
  kind: "server";
  trustDomain: string;
  datacenter: string;
}

export interface GatewayId {
  kind: "gateway";
  trustDomain: string;
  partition?: string;
  datacenter: string;
}

/** A trust domain itself: what roots and intermediates carry. Never authenticates anybody. */
export interface SigningId {
  kind: "signing";
  trustDomain: string;
}

/** One of Heddle's daemons on the internal API. */
export interface DaemonId {
  kind: "daemon";
  trustDomain: string;
  datacenter: string;
  role: string;
  /** The node that it runs on, for a daemon that speaks for one node. */
  node?: string;
}

export type SpiffeId = ServiceId | AgentId | ServerId | GatewayId | SigningId | DaemonId;

/** SPIFFE-ID §2.3: longer ones are refused. */
export const MAX_SPIFFE_ID_BYTES = 2_048;
export const DEFAULT_NAMESPACE = "default";

const SCHEME = "spiffe://";

const MAX_KNOWN = 1_024;
const MAX_KNOWN_LENGTH = 256;
const known = new Map<string, SpiffeId>(); // the same few come with each connection

/** Parses a SPIFFE ID. Throws IdentityError with the rule it breaks. */
export function parseSpiffeId(text: string): Readonly<SpiffeId> {
  const before = known.get(text);
  if (before) return before;
  const id = Object.freeze(parse(text));
  if (text.length > MAX_KNOWN_LENGTH) return id;
  if (known.size >= MAX_KNOWN) known.clear();
  known.set(text, id);
  return id;
}

function parse(text: string): SpiffeId {
  const refuse = (rule: string): never => {
    throw new IdentityError(`invalid SPIFFE ID '${printable(text)}': ${rule}`);
  };
  if (text.length > MAX_SPIFFE_ID_BYTES) refuse(`longer than ${MAX_SPIFFE_ID_BYTES} bytes`);
  if (!/^[\x21-\x7e]*$/.test(text)) refuse("holds a space, a control character or a character outside ASCII");
  if (!text.startsWith(SCHEME)) refuse(`does not begin with '${SCHEME}'`);
  const rest = text.slice(SCHEME.length);
  if (rest.includes("%")) refuse("percent-encoding is not allowed");
  if (rest.includes("?")) refuse("a query is not allowed");
  if (rest.includes("#")) refuse("a fragment is not allowed");
  const slash = rest.indexOf("/");
  const trustDomain = slash < 0 ? rest : rest.slice(0, slash);
  if (trustDomain === "") refuse("the trust domain is empty");
  if (trustDomain.includes("@")) refuse("userinfo is not allowed");
  if (trustDomain.includes(":")) refuse("a port is not allowed");
  if (!isTrustDomain(trustDomain))
    refuse(
      `the trust domain must be lower-case letters, digits, '.', '-', '_', at most ${MAX_TRUST_DOMAIN_BYTES} bytes`,
    );
  if (slash < 0) return { kind: "signing", trustDomain };

  const segments = rest.slice(slash + 1).split("/");
  for (const segment of segments) {
    if (segment === "") refuse("an empty path segment or a trailing '/'");
    if (segment === "." || segment === "..") refuse("a '.' or '..' path segment");
    if (!isSegment(segment)) refuse(`path segment '${segment}' holds more than letters, digits, '.', '-', '_'`);
  }
  return (
    identify(trustDomain, segments) ?? refuse("its path is not one of a service, agent, server, gateway or daemon")
  );
}

/** The canonical text. Throws IdentityError where a part cannot stand in a SPIFFE ID. */
export function formatSpiffeId(id: SpiffeId): string {
  const text = `${SCHEME}${id.trustDomain}${path(id)}`;
  // Parsing back is the proof that no part smuggles a separator or a character of another part.
  const back = parseSpiffeId(text);
  if (back.kind !== id.kind)
    throw new IdentityError(`invalid SPIFFE ID '${printable(text)}': it does not name a ${id.kind}`);
  return text;
}

export interface ServiceIdParts {
  trustDomain: string;
  datacenter: string;
  service: string;
  namespace?: string;
  partition?: string;
}

/** `spiffe://<trust-domain>/ns/<namespace>/dc/<datacenter>/svc/<service>`. Throws IdentityError. */
export function serviceSpiffeId(parts: ServiceIdParts): string {
  return formatSpiffeId({ kind: "service", namespace: DEFAULT_NAMESPACE, ...parts });
}

/** `spiffe://<trust-domain>/heddle/dc/<datacenter>/role/<role>`, with `/node/<node>` where it names one. Throws IdentityError. */
export function daemonSpiffeId(parts: {
  trustDomain: string;
  datacenter: string;
  role: string;
  node?: string;
}): string {
  return formatSpiffeId({ kind: "daemon", ...parts });
}

/** True for text that may be one segment of a SPIFFE ID's path, such as a service's name. */
export function isSegment(text: string): boolean {
  return /^[A-Za-z0-9._-]+$/.test(text) && text !== "." && text !== "..";
}

function path(id: SpiffeId): string {
  const partition = "partition" in id && id.partition !== undefined ? `/ap/${id.partition}` : "";
  switch (id.kind) {
    case "service":
      return `${partition}/ns/${id.namespace}/dc/${id.datacenter}/svc/${id.service}`;
    case "agent":
      return `${partition}/agent/client/dc/${id.datacenter}/id/${id.node}`;
    case "server":
      return `/agent/server/dc/${id.datacenter}`;
    case "gateway":
      return `${partition}/gateway/mesh/dc/${id.datacenter}`;
    case "daemon":
      return `/heddle/dc/${id.datacenter}/role/${id.role}${id.node === undefined ? "" : `/node/${id.node}`}`;
    case "signing":
      return "";
  }
}

function identify(trustDomain: string, all: string[]): SpiffeId | undefined {
  const hasPartition = all[0] === "ap" && all.length > 2;
  const partition = hasPartition ? { partition: all[1] as string } : {};
  const [a, b, c, d, e, f, g, ...more] = hasPartition ? all.slice(2) : all;
  if (more.length > 0) return undefined;
  if (!hasPartition && a === "heddle" && b === "dc" && c && d === "role" && e && f === "node" && g)
    return { kind: "daemon", trustDomain, datacenter: c, role: e, node: g };
  if (g !== undefined) return undefined;
  if (a === "ns" && b && c === "dc" && d && e === "svc" && f)
    return { kind: "service", trustDomain, ...partition, namespace: b, datacenter: d, service: f };
  if (a === "agent" && b === "client" && c === "dc" && d && e === "id" && f)
    return { kind: "agent", trustDomain, ...partition, datacenter: d, node: f };
  if (a === "gateway" && b === "mesh" && c === "dc" && d && e === undefined)
    return { kind: "gateway", trustDomain, ...partition, datacenter: d };
  if (hasPartition) return undefined;
  if (a === "agent" && b === "server" && c === "dc" && d && e === undefined)
    return { kind: "server", trustDomain, datacenter: d };
  if (a === "heddle" && b === "dc" && c && d === "role" && e && f === undefined)
    return { kind: "daemon", trustDomain, datacenter: c, role: e };
  return undefined;
}

// What a peer sent goes into logs: one line, bounded.
function printable(text: string): string {
  const head = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  return head.replace(/[^\x20-\x7e…]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
