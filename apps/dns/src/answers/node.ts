/** The records of a node: its addresses, its meta as TXT. Checks do not count: a sick node still has its name. */
import { TYPE } from "../codec/constants.ts";
import { toWireName } from "../codec/name.ts";
import { addressRecord, nameRecord, type Rr, toAddressBytes } from "../codec/record.ts";
import { byFamily, metaRecords, type NodeEntry } from "./instance.ts";
import type { ServiceRecords } from "./service.ts";
import type { Zone } from "./zone.ts";

export function nodeRecords(node: NodeEntry, type: number, zone: Zone): ServiceRecords & { additional: Rr[] } {
  const ttl = zone.nodeTtl;
  const isAny = type === TYPE.ANY;
  const records: Rr[] = [];
  const hosts: ServiceRecords["hosts"] = [];
  const { v4, v6 } = byFamily(node.nodeAddress, node.nodeLan);
  if (v4 || v6) {
    for (const address of [type === TYPE.A || isAny ? v4 : "", type === TYPE.AAAA || isAny ? v6 : ""]) {
      const bytes = toAddressBytes(address);
      if (bytes) records.push(addressRecord(undefined, ttl, bytes));
    }
  } else if (type !== TYPE.TXT) {
    const target = toWireName(node.nodeAddress);
    if (target && target.length > 1) {
      const record = nameRecord(undefined, TYPE.CNAME, ttl, target);
      records.push(record);
      hosts.push({ record, host: node.nodeAddress });
    }
  }
  const wantsMeta = isAny || type === TYPE.TXT;
  const isAddressQuestion = type === TYPE.A || type === TYPE.AAAA;
  const meta =
    wantsMeta || (isAddressQuestion && zone.settings.nodeMetaTxt) ? metaRecords(undefined, node.meta, ttl) : [];
  if (wantsMeta) records.push(...meta);
  // A node's TTL is for what the catalog knows: addresses of its host live as long as their name server has it, as in Consul.
  return { records, maxHostTtl: Number.POSITIVE_INFINITY, hosts, additional: wantsMeta ? [] : meta };
}
