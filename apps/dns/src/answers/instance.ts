/** A service instance or a node as the catalog tells it (Consul's JSON), reduced to what answers are made of. */
import { isIP } from "node:net";
import { toWireName } from "../codec/name.ts";
import { addressRecord, type Rr, textRecord, toAddressBytes } from "../codec/record.ts";
import type { Zone } from "./zone.ts";

export type Status = "passing" | "warning" | "critical";

/** Addresses of one family each that are told beside the main one: the tagged addresses `lan_ipv4` and `lan_ipv6`. */
export interface LanAddresses {
  v4: string;
  v6: string;
}

export interface NodeEntry {
  node: string;
  nodeAddress: string;
  nodeLan: LanAddresses;
  datacenter: string;
  meta: Record<string, string>;
}

export interface Instance extends NodeEntry {
  /** The service's id on its node. */
  id: string;
  address: string;
  lan: LanAddresses;
  virtual: string;
  port: number;
  tags: string[];
  status: Status;
  /** The check that made it so; empty where all pass. */
  sickCheck: string;
  weight: number;
}

type Json = Record<string, unknown>;
const asObject = (value: unknown): Json => (typeof value === "object" && value !== null ? (value as Json) : {});
const asText = (value: unknown): string => (typeof value === "string" ? value : "");
const asList = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const asNumber = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);

/** Reads the answer of `/v1/health/service/…` or a prepared query's `Nodes`; critical ones included. */
export function toInstances(body: unknown): Instance[] {
  return asList(body).map((entry) => {
    const { Node, Service, Checks } = asObject(entry);
    const service = asObject(Service);
    const tagged = asObject(service.TaggedAddresses);
    const taggedAddress = (name: string) => asText(asObject(tagged[name]).Address);
    const checks = asList(Checks).map(asObject);
    const status = worst(checks.map((check) => asText(check.Status)));
    const sick = status === "passing" ? undefined : checks.find((check) => worst([asText(check.Status)]) === status);
    const weights = asObject(service.Weights);
    return {
      ...toNode(Node),
      id: asText(service.ID),
      address: asText(service.Address),
      lan: { v4: taggedAddress("lan_ipv4"), v6: taggedAddress("lan_ipv6") },
      virtual: taggedAddress("virtual") || taggedAddress("consul-virtual"),
      port: asNumber(service.Port) ?? 0,
      tags: asList(service.Tags).map((tag) => asText(tag).toLowerCase()),
      status,
      sickCheck: asText(sick?.CheckID),
      weight: status === "critical" ? 0 : (asNumber(status === "warning" ? weights.Warning : weights.Passing) ?? 1),
    };
  });
}

/** Reads one node of `/v1/catalog/nodes`. */
export function toNode(entry: unknown): NodeEntry {
  const { Node, Address, TaggedAddresses, Datacenter, Meta } = asObject(entry);
  const tagged = asObject(TaggedAddresses);
  const meta = Object.entries(asObject(Meta)).map(([key, value]): [string, string] => [key, asText(value)]);
  return {
    node: asText(Node),
    nodeAddress: asText(Address),
    nodeLan: { v4: asText(tagged.lan_ipv4), v6: asText(tagged.lan_ipv6) },
    datacenter: asText(Datacenter),
    meta: Object.fromEntries(meta),
  };
}

export function worst(statuses: string[]): Status {
  if (statuses.some((s) => s !== "passing" && s !== "warning")) return "critical";
  return statuses.includes("warning") ? "warning" : "passing";
}

export const isAddress = (text: string): boolean => isIP(text) !== 0;

/** One address for each family: the tagged one, else the main one where it is of that family. */
export function byFamily(address: string, { v4, v6 }: LanAddresses): LanAddresses {
  const family = isIP(address);
  return { v4: v4 || (family === 4 ? address : ""), v6: v6 || (family === 6 ? address : "") };
}

/** A node's own name with its address and meta as additional records; undefined where no such DNS name can exist. */
export function nodeTarget(node: NodeEntry, zone: Zone, ttl: number): { name: Buffer; extras: Rr[] } | undefined {
  const name = toWireName(`${node.node}.node.${node.datacenter || zone.settings.datacenter}.${zone.domain}`);
  if (name === undefined) return undefined;
  const address = toAddressBytes(node.nodeAddress);
  const extras = address ? [addressRecord(name, ttl, address)] : [];
  if (zone.settings.nodeMetaTxt) extras.push(...metaRecords(name, node.meta, ttl));
  return { name, extras };
}

/** Node meta as TXT (RFC 1464); the value alone where the key begins with "rfc1035-". */
export function metaRecords(owner: Buffer | undefined, meta: Record<string, string>, ttl: number): Rr[] {
  return Object.entries(meta).map(([key, value]) =>
    textRecord(owner, ttl, /^rfc1035-/i.test(key) ? value : formatRfc1464(key, value)),
  );
}

/** RFC 1464 §2: a backquote quotes itself, an equals sign, and blanks at the ends of the key. */
export function formatRfc1464(key: string, value: string): string {
  const quoted = key.replaceAll("`", "``").replaceAll("=", "`=");
  const blanks = (text: string) => "` ".repeat(text.length);
  return `${quoted.replace(/^ +/, blanks).replace(/(?<!`) +$/, blanks)}=${value.replaceAll("`", "``")}`;
}
