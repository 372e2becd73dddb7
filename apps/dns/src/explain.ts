/**
 * Why an answer is as it is: each instance that the catalog knows for a name, whether it is in the answer, and what left it
 * out. Decided by the same predicates as the answer, and beside the answer itself.
 */
import type { Instance } from "./answers/instance.ts";
import { isReverse } from "./answers/reverse.ts";
import { type Lookup, parseLookup } from "./answers/route.ts";
import { addressesOf, hasTag, isHealthy } from "./answers/service.ts";
import type { Zone } from "./answers/zone.ts";
import type { Directory } from "./catalog/directory.ts";
import { RCODE, TYPE } from "./codec/constants.ts";
import type { Resolve, ResolverSettings } from "./resolver.ts";

export interface Explanation {
  Name: string;
  Type: string;
  /** What the name means, in words. */
  Asks: string;
  /** The answer's code, as dig shows it; empty where the question goes to the recursors. */
  Status: string;
  /** How many records an answer over TCP has. */
  Records: number;
  Answered: ExplainedInstance[];
  LeftOut: (ExplainedInstance & { Reason: string })[];
  Notes: string[];
  /** True while no catalog is connected: all this is from memory. */
  Stale: boolean;
}

export interface ExplainedInstance {
  Node: string;
  ServiceID: string;
  Address: string;
  Port: number;
}

/** `name` may end without the domain. */
export type Explain = (name: string, type: number) => Promise<Explanation>;

export interface ExplainerDeps {
  zone: Zone;
  settings: ResolverSettings & { udpAnswerLimit: number };
  directory: Directory;
  resolve: Resolve;
}

const MAX_SHOWN = 1_000; // instances a list
const FAMILY: Record<number, string> = { [TYPE.A]: "IPv4", [TYPE.AAAA]: "IPv6" };

export function createExplainer({ zone, settings, directory, resolve }: ExplainerDeps): Explain {
  return async function explain(given, type) {
    const name = inZone(given, zone);
    const labels = zone.trim(name);
    const lookup = labels === undefined ? undefined : parseLookup(labels, type);
    const told: Explanation = {
      Name: name,
      Type: typeName(type),
      Asks: describeLookup(lookup, zone, name),
      Status: "",
      Records: 0,
      Answered: [],
      LeftOut: [],
      Notes: [],
      Stale: directory.isStale,
    };
    const answer = await resolve({ name, type });
    if (answer === "forward") {
      told.Notes.push("a name of others: the recursors are asked, and without any it is refused");
      return told;
    }
    told.Status = Object.entries(RCODE).find(([, code]) => code === answer.rcode)?.[0] ?? String(answer.rcode);
    told.Records = Math.min(answer.records.length, answer.maxRecords);
    if (lookup !== undefined) await explainLookup(lookup, { name, type }, told);
    for (const list of [told.Answered, told.LeftOut]) {
      if (list.length <= MAX_SHOWN) continue;
      told.Notes.push(`${MAX_SHOWN} of ${list.length} instances are shown`);
      list.length = MAX_SHOWN;
    }
    if (answer.records.length > answer.maxRecords)
      told.Notes.push(
        `a_record_limit lets ${answer.maxRecords} of ${answer.records.length} records out, drawn at random`,
      );
    if (answer.isUdpLimited && told.Records > settings.udpAnswerLimit)
      told.Notes.push(`a UDP client without EDNS gets ${settings.udpAnswerLimit} of them, drawn at random`);
    return told;
  };

  async function explainLookup(lookup: Lookup, question: { name: string; type: number }, told: Explanation) {
    if ("datacenter" in lookup && lookup.datacenter !== "" && lookup.datacenter !== zone.datacenter)
      return void told.Notes.push(`'${lookup.datacenter}' is not this datacenter, which is '${zone.datacenter}'`);
    switch (lookup.kind) {
      case "service": {
        const found = await directory.service(lookup.name);
        if (!found) return void told.Notes.push(`no service '${lookup.name}' is registered`);
        return sort(found.instances, question, told, lookup.tag);
      }
      case "connect":
      case "ingress": {
        const { instances } = await directory.mesh(lookup.kind, lookup.name);
        if (instances.length === 0)
          told.Notes.push(
            lookup.kind === "connect"
              ? `nothing that speaks Connect for '${lookup.name}' is registered`
              : `no ingress gateway serves '${lookup.name}'`,
          );
        return sort(instances, question, told);
      }
      case "query": {
        const found = await directory.query(lookup.name, "");
        if (!found) return void told.Notes.push(`no prepared query answers to '${lookup.name}'`);
        told.Notes.push(`the query asks for service '${found.service}'`);
        if (found.isByAddress)
          told.Notes.push("who asks decides the order (Near is _ip): shown is that without an address");
        sort(found.instances, question, told, "", true);
        for (const { Node, ServiceID, Reason } of found.leftOut)
          told.LeftOut.push({ Node, ServiceID, Address: "", Port: 0, Reason: `by the query: ${Reason}` });
        return undefined;
      }
      case "virtual": {
        const found = await directory.service(lookup.name);
        if (!found?.instances.some((i) => i.virtual !== ""))
          told.Notes.push(`no instance of '${lookup.name}' was registered with a virtual address`);
        return undefined;
      }
      case "node": {
        const node = (await directory.nodes()).byName.get(lookup.name);
        told.Notes.push(node ? `the node's address is ${node.nodeAddress}` : `no node '${lookup.name}' is registered`);
        return undefined;
      }
      case "addr":
      case "none":
        return undefined;
    }
  }

  function sort(
    instances: Instance[],
    { name, type }: { name: string; type: number },
    told: Explanation,
    tag = "",
    isChosen = false,
  ): void {
    const seen = new Set<string>();
    const hasAddresses = instances.some(
      (i) => addressesOf(i, name).host === "" && (isChosen || isHealthy(i, settings.onlyPassing)) && hasTag(i, tag),
    );
    for (const instance of instances) {
      const { v4, v6, host, target } = addressesOf(instance, name);
      const shown = {
        Node: instance.node,
        ServiceID: instance.id,
        Address: host || [v4, v6].filter(Boolean).join(" "),
        Port: instance.port,
      };
      const addresses = type === TYPE.A ? v4 : type === TYPE.AAAA ? v6 : `${v4} ${v6}`;
      const same = type === TYPE.SRV ? `${instance.node} ${target || host} ${instance.port}` : host || addresses;
      const reason =
        (!isChosen && whySick(instance)) ||
        whyTag(instance, tag) ||
        whyType(type, { v4, v6, host }, hasAddresses) ||
        (seen.has(same) && "another instance says the same") ||
        undefined;
      if (reason === undefined) {
        seen.add(same);
        told.Answered.push(shown);
      } else told.LeftOut.push({ ...shown, Reason: reason });
    }
  }

  function whySick(instance: Instance): string | undefined {
    if (isHealthy(instance, settings.onlyPassing)) return undefined;
    const { status, sickCheck } = instance;
    return `check '${sickCheck}' is ${status}${status === "warning" ? ", and only_passing is set" : ""}`;
  }
}

function whyTag(instance: Instance, tag: string): string | undefined {
  if (hasTag(instance, tag)) return undefined;
  const has = instance.tags.length === 0 ? "none" : instance.tags.slice(0, 8).join(", ");
  return `it lacks the tag '${tag}' (it has ${has})`;
}

function whyType(
  type: number,
  { v4, v6, host }: { v4: string; v6: string; host: string },
  hasAddresses: boolean,
): string | undefined {
  if (type === TYPE.SRV) return undefined;
  if (host !== "")
    return hasAddresses ? `its address is the name '${host}', which has no place beside others' addresses` : undefined;
  if (type === TYPE.ANY) return undefined;
  const family = FAMILY[type];
  if (family === undefined) return `a service has no ${typeName(type)} records`;
  if (type === TYPE.A ? v4 !== "" : v6 !== "") return undefined;
  return `its address ${v4 || v6} is not ${family}`;
}

const typeName = (type: number): string => Object.entries(TYPE).find(([, t]) => t === type)?.[0] ?? String(type);

function inZone(given: string, zone: Zone): string {
  const name = given.toLowerCase().replace(/\.$/, "");
  const isWhole = given.endsWith(".") || zone.trim(name) !== undefined || isReverse(name);
  return isWhole || !/\.(?:service|connect|ingress|virtual|node|query|addr)(?:\.|$)/.test(name)
    ? name
    : `${name}.${zone.domain.replace(/\.$/, "")}`;
}

function describeLookup(lookup: Lookup | undefined, zone: Zone, name: string): string {
  if (lookup === undefined)
    return isReverse(name) ? "what is registered with this address" : `nothing of ${zone.domain}`;
  switch (lookup.kind) {
    case "none":
      return "nothing: there is no such kind of name";
    case "addr":
      return "the address itself";
    case "service":
      return `instances of service '${lookup.name}'${lookup.tag === "" ? "" : ` with the tag '${lookup.tag}'`}`;
    case "connect":
      return `what speaks Connect for service '${lookup.name}'`;
    case "ingress":
      return `ingress gateways for service '${lookup.name}'`;
    case "virtual":
      return `the virtual address of service '${lookup.name}'`;
    case "node":
      return `node '${lookup.name}'`;
    case "query":
      return `the answer of prepared query '${lookup.name}'`;
    default:
      return lookup satisfies never;
  }
}
