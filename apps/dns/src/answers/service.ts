/** The records of a service: which instances count, and what each says for a type. Pure, and done once for a snapshot. */
import { TYPE } from "../codec/constants.ts";
import { toWireName } from "../codec/name.ts";
import { addressRecord, nameRecord, type Rr, srvRecord, toAddressBytes } from "../codec/record.ts";
import { byFamily, type Instance, isAddress, type LanAddresses, nodeTarget } from "./instance.ts";
import type { Zone } from "./zone.ts";

export interface ServiceRecords {
  records: Rr[];
  /** Seconds that records of a foreign target may be remembered at most; never longer than their own name server has it. */
  maxHostTtl: number;
  /** Records whose target is a name of somebody else's: its addresses have to be asked for. */
  hosts: { record: Rr; host: string }[];
}

/** Whether a question may be answered with an instance. */
export const isHealthy = ({ status }: Instance, onlyPassing: boolean): boolean =>
  status === "passing" || (status === "warning" && !onlyPassing);

export const hasTag = ({ tags }: Instance, tag: string): boolean => tag === "" || tags.includes(tag);

export function healthy(instances: Instance[], onlyPassing: boolean): Instance[] {
  return instances.filter((i) => isHealthy(i, onlyPassing));
}

export const withTag = (instances: Instance[], tag: string): Instance[] =>
  tag === "" ? instances : instances.filter((i) => hasTag(i, tag));

/** `name` is the question's, lower case: an instance whose address is that very name is known by its node's. */
export function serviceRecords(
  instances: Instance[],
  type: number,
  options: { zone: Zone; ttl: number; name: string },
): ServiceRecords {
  const { ttl } = options;
  if (type === TYPE.SRV) return srvRecords(instances, options);
  const byAddress = new Map<string, Rr>();
  const hosts = new Set<string>();
  for (const instance of instances) {
    const { v4, v6, host } = addressesOf(instance, options.name);
    for (const address of [type === TYPE.AAAA ? "" : v4, type === TYPE.A ? "" : v6]) {
      const bytes = toAddressBytes(address);
      if (bytes) byAddress.set(address, addressRecord(undefined, ttl, bytes));
    }
    if (host !== "") hosts.add(host);
  }
  const isAddressType = type === TYPE.A || type === TYPE.AAAA || type === TYPE.ANY;
  if (byAddress.size > 0) return { records: isAddressType ? [...byAddress.values()] : [], maxHostTtl: ttl, hosts: [] };
  // A name has one CNAME and nothing beside it (RFC 1034 §3.6.2), so names count only where no address does; it is the answer
  // whatever the type asked for.
  for (const host of hosts) {
    const target = toWireName(host);
    if (target === undefined) continue;
    const record = nameRecord(undefined, TYPE.CNAME, ttl, target);
    return { records: [record], maxHostTtl: ttl, hosts: [{ record, host }] };
  }
  return { records: [], maxHostTtl: ttl, hosts: [] };
}

function srvRecords(instances: Instance[], options: { zone: Zone; ttl: number; name: string }): ServiceRecords {
  const { zone, ttl, name } = options;
  const targets = new Map<string, { name: Buffer; extras: Rr[] } | undefined>();
  const targetOf = (key: string, make: () => { name: Buffer; extras: Rr[] } | undefined) => {
    if (!targets.has(key)) targets.set(key, make());
    return targets.get(key);
  };
  const result: ServiceRecords = { records: [], maxHostTtl: ttl, hosts: [] };
  const seen = new Set<string>();
  for (const instance of instances) {
    const { host, target: address } = addressesOf(instance, name);
    const key = `${instance.node} ${address || host} ${instance.port}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const node = () => targetOf(`node ${instance.node}`, () => nodeTarget(instance, zone, ttl));
    const target =
      host !== ""
        ? targetOf(`host ${host}`, () => hostTarget(host))
        : address !== ""
          ? targetOf(`addr ${address}`, () => addressTarget(address, instance, zone, ttl))
          : node();
    if (target === undefined) continue;
    const data = { priority: 1, weight: instance.weight, port: instance.port, target: target.name };
    const record = srvRecord(undefined, ttl, data);
    const meta =
      address !== "" || host !== "" ? (node()?.extras.slice(toAddressBytes(instance.nodeAddress) ? 1 : 0) ?? []) : [];
    record.extras = [...target.extras, ...meta];
    result.records.push(record);
    if (host !== "") result.hosts.push({ record, host });
  }
  return result;
}

export interface Addresses extends LanAddresses {
  /** Set where the instance is known by a name instead. */
  host: string;
  /** The address that SRV names; empty where it names the node itself, or a host. */
  target: string;
}

/**
 * Tagged addresses come first for their family; the node's addresses count where the service has none of its own. Of several SRV takes
 * Consul's first: the tagged of IPv6, that of IPv4, the main one.
 */
export function addressesOf(instance: Instance, questionName: string): Addresses {
  const { lan, nodeLan, nodeAddress } = instance;
  const isSelf = instance.address.toLowerCase().replace(/\.$/, "") === questionName && isAddress(nodeAddress);
  const own = isSelf ? "" : instance.address;
  const ofService = byFamily(own, lan);
  const ofNode = own === "" ? byFamily(nodeAddress, nodeLan) : { v4: "", v6: "" };
  const v4 = ofService.v4 || ofNode.v4;
  const v6 = ofService.v6 || ofNode.v6;
  if (v4 === "" && v6 === "") return { v4, v6, host: own || nodeAddress, target: "" };
  const chosen = lan.v6 || lan.v4 || own || nodeLan.v6 || nodeLan.v4;
  return { v4, v6, host: "", target: own === "" && chosen === nodeAddress ? "" : chosen };
}

function addressTarget(address: string, instance: Instance, zone: Zone, ttl: number) {
  const bytes = toAddressBytes(address);
  const datacenter = instance.datacenter || zone.settings.datacenter;
  const name = bytes && toWireName(`${bytes.toString("hex")}.addr.${datacenter}.${zone.domain}`);
  return bytes && name && { name, extras: [addressRecord(name, ttl, bytes)] };
}

function hostTarget(host: string) {
  const name = toWireName(host);
  return name && { name, extras: [] };
}
