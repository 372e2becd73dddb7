/** What the whole zone says of itself: its names, its SOA, and the answers that are the same for every question. */
import { RCODE, TYPE } from "../codec/constants.ts";
import { toWireName } from "../codec/name.ts";
import { nameRecord, type Rr, soaRecord } from "../codec/record.ts";
import type { Answer } from "../codec/reply.ts";
import { InvalidArgumentError } from "@heddle/daemon";
import { type Instance, nodeTarget } from "./instance.ts";

const MAX_NAME_SERVERS = 3;

export interface ZoneSettings {
  domain: string;
  altDomain: string;
  datacenter: string;
  nodeTtlMs: number;
  /** Go durations' milliseconds by service name; `*` and `prefix*` stand for others. */
  serviceTtlMs: Record<string, number>;
  nodeMetaTxt: boolean;
  soa: { refreshMs: number; retryMs: number; expireMs: number; minTtlMs: number };
}

export interface Zone {
  readonly settings: ZoneSettings;
  /** "consul", lower case and without dots at its ends. */
  readonly domain: string;
  readonly datacenter: string;
  readonly nodeTtl: number;
  readonly apex: Buffer;
  /** The labels in front of our domain, or undefined where the name is not ours. */
  trim(name: string): string[] | undefined;
  serviceTtl(service: string): number;
  soa(nowMs: number): Rr;
}

export function createZone(settings: ZoneSettings): Zone {
  const domain = canonical(settings.domain);
  const domains = [domain, canonical(settings.altDomain)].filter((d) => d !== "");
  const apex = wireOf(domain, "domain");
  const mname = wireOf(`ns.${domain}`, "domain");
  const rname = wireOf(`hostmaster.${domain}`, "domain");
  const { refreshMs, retryMs, expireMs, minTtlMs } = settings.soa;
  let soa: { second: number; record: Rr } | undefined;
  return {
    settings,
    domain,
    datacenter: settings.datacenter.toLowerCase(),
    nodeTtl: settings.nodeTtlMs / 1000,
    apex,
    trim(name) {
      for (const d of domains) {
        if (name === d) return [];
        if (name.endsWith(d) && name.charCodeAt(name.length - d.length - 1) === 46)
          return name.slice(0, -d.length - 1).split(".");
      }
      return undefined;
    },
    serviceTtl: (service) => serviceTtlMs(settings.serviceTtlMs, service) / 1000,
    soa(nowMs) {
      const second = Math.floor(nowMs / 1000);
      if (soa?.second === second) return soa.record;
      const data = {
        mname,
        rname,
        serial: second,
        refresh: refreshMs / 1000,
        retry: retryMs / 1000,
        expire: expireMs / 1000,
        minTtl: minTtlMs / 1000,
      };
      soa = { second, record: soaRecord(apex, minTtlMs / 1000, data) };
      return soa.record;
    },
  };
}

/** The TTL of a service: by its name, else by the longest `prefix*`, else 0. */
export function serviceTtlMs(ttls: Record<string, number>, service: string): number {
  let best: number | undefined;
  let bestLength = -1;
  for (const [pattern, ttl] of Object.entries(ttls)) {
    if (pattern.toLowerCase() === service.toLowerCase()) return ttl;
    const prefix = pattern.endsWith("*") ? pattern.slice(0, -1).toLowerCase() : undefined;
    if (prefix === undefined || prefix.length <= bestLength || !service.toLowerCase().startsWith(prefix)) continue;
    bestLength = prefix.length;
    best = ttl;
  }
  return best ?? 0;
}

/** The zone's name servers: the nodes that run the service `consul`, each with its address. */
export function nameServers(zone: Zone, servers: Instance[]): { records: Rr[]; glue: Rr[] } {
  const records: Rr[] = [];
  const glue: Rr[] = [];
  const seen = new Set<string>();
  for (const server of servers) {
    // Names that no resolver may ask for are left out, as are spellings that differ in case only.
    if (seen.has(server.node) || !/^[a-z0-9.-]+$/i.test(server.node)) continue;
    seen.add(server.node);
    const target = nodeTarget({ ...server, node: server.node.toLowerCase(), meta: {} }, zone, zone.nodeTtl);
    if (target === undefined) continue;
    records.push(nameRecord(zone.apex, TYPE.NS, zone.nodeTtl, target.name));
    glue.push(...target.extras);
    if (records.length === MAX_NAME_SERVERS) break;
  }
  return { records, glue };
}

const BASE: Answer = {
  rcode: RCODE.NOERROR,
  isAuthoritative: true,
  records: [],
  isShuffled: false,
  maxRecords: Number.POSITIVE_INFINITY,
  isUdpLimited: false,
  authority: [],
  additional: [],
};

export const positive = (records: Rr[], more: Partial<Answer> = {}): Answer => ({ ...BASE, records, ...more });
/** The name exists, the type does not: no error, and the SOA that says how long that may be remembered (RFC 2308 §2.2). */
export const noData = (zone: Zone, nowMs: number): Answer => ({ ...BASE, authority: [zone.soa(nowMs)] });
export const nxDomain = (zone: Zone, nowMs: number): Answer => ({
  ...BASE,
  rcode: RCODE.NXDOMAIN,
  authority: [zone.soa(nowMs)],
});
export const failure = (rcode: number, more: Partial<Answer> = {}): Answer => ({
  ...BASE,
  rcode,
  isAuthoritative: false,
  ...more,
});

export const canonical = (domain: string): string => domain.toLowerCase().replace(/^\.+|\.+$/g, "");

function wireOf(name: string, what: string): Buffer {
  const wire = toWireName(name);
  if (wire === undefined) throw new InvalidArgumentError(`invalid ${what} '${name}': not a DNS name`);
  return wire;
}
