/**
 * From a question to an answer: which zone, which lookup, what the catalog says, which records. Answers come at once from
 * memory; only a first question, a query that looks at who asks, or a foreign target takes a promise.
 */
import type { Clock } from "@heddle/daemon";
import type { Instance, NodeEntry } from "./answers/instance.ts";
import { nodeRecords } from "./answers/node.ts";
import { isReverse, parseReverse, pointerRecord } from "./answers/reverse.ts";
import { type Lookup, parseLookup } from "./answers/route.ts";
import { healthy, type ServiceRecords, serviceRecords, withTag } from "./answers/service.ts";
import { failure, nameServers, noData, nxDomain, positive, type Zone } from "./answers/zone.ts";
import type { Directory, QueryResult, Snapshot } from "./catalog/directory.ts";
import { formatAddress } from "./codec/address.ts";
import { RCODE, TYPE } from "./codec/constants.ts";
import { toWireName } from "./codec/name.ts";
import type { Question } from "./codec/query.ts";
import { addressRecord, type Rr, toAddressBytes } from "./codec/record.ts";
import type { Answer } from "./codec/reply.ts";

const MAX_DEPTH = 3; // names of our own zone that are followed for one question: Consul's limit
const SERVERS = "consul"; // the service that the catalog's servers are registered as
const MAX_PREPARED = 64; // types and tags of one service; more than that is a scan
const MAX_HOSTS = 8; // foreign targets of one answer that are asked for

/** Asks foreign name servers. */
export interface HostResolver {
  readonly isEnabled: boolean;
  /** A, AAAA and CNAME records of a name, owners and all, remembered for at most `maxTtl` seconds; none when nobody knows. */
  lookup(host: string, type: number, maxTtl: number): Promise<Rr[]>;
}

export interface ResolverSettings {
  onlyPassing: boolean;
  /** 0 is no limit. */
  aRecordLimit: number;
}

export interface ResolverDeps {
  zone: Zone;
  settings: ResolverSettings;
  directory: Directory;
  hosts: HostResolver;
  clock: Clock;
}

/** "forward" where the name is nobody's here. */
export type Resolution = Answer | "forward";
/** `client` tells the address that asks: prepared queries may answer with what is near it. */
export type Resolve = (question: Question, client?: Client, depth?: number) => Resolution | Promise<Resolution>;
export type Client = () => string;

const NOBODY: Client = () => "";

export function createResolver(deps: ResolverDeps): Resolve {
  const { zone, settings, directory, hosts, clock } = deps;
  const none = () => nxDomain(zone, clock.now());
  const empty = () => noData(zone, clock.now());
  const prepared = new WeakMap<Snapshot, Map<string, ServiceRecords>>();

  const resolve: Resolve = (question, client = NOBODY, depth = MAX_DEPTH) => {
    const labels = zone.trim(question.name);
    if (labels === undefined) return isReverse(question.name) ? reverse(question) : "forward";
    switch (question.type) {
      case TYPE.SOA:
      case TYPE.NS:
        return apex(question.type);
      case TYPE.AXFR:
      case TYPE.IXFR:
        return failure(RCODE.NOTIMP, { isAuthoritative: true });
      default:
        return lookUp(parseLookup(labels, question.type), question, client, depth);
    }
  };

  const lookUp = (lookup: Lookup, question: Question, client: Client, depth: number): Answer | Promise<Answer> => {
    if (lookup.kind === "none") return none();
    if (lookup.kind === "addr") return address(lookup.address, question.type);
    if (lookup.datacenter !== "" && lookup.datacenter !== zone.datacenter) return none();
    switch (lookup.kind) {
      case "service": {
        const { name, tag } = lookup;
        return after(directory.service(name), (s) => (s ? service(s, name, tag, question, depth) : none()));
      }
      case "connect":
      case "ingress":
        return after(directory.mesh(lookup.kind, lookup.name), (s) => service(s, lookup.name, "", question, depth));
      case "virtual":
        return after(directory.service(lookup.name), (s) => virtual(s?.instances ?? [], question.type));
      case "query":
        return after(directory.query(lookup.name, client()), (found) => query(found, question, depth));
      case "node":
        return after(directory.nodes(), ({ byName }) => node(byName.get(lookup.name), question, depth));
      default:
        return lookup satisfies never;
    }
  };

  const service = (snapshot: Snapshot, name: string, tag: string, question: Question, depth: number) => {
    const set = prepare(snapshot, question, tag, () => ({
      instances: withTag(healthy(snapshot.instances, settings.onlyPassing), tag),
      ttl: zone.serviceTtl(name),
    }));
    if (set === undefined) return none();
    return finish(set, question, depth, {
      isShuffled: true,
      isUdpLimited: true,
      maxRecords: recordLimit(question.type),
    });
  };

  // The records of a snapshot for a type and a tag, made once; undefined where no instance counts.
  const prepare = (
    snapshot: Snapshot,
    question: Question,
    tag: string,
    select: () => { instances: Instance[]; ttl: number },
  ): ServiceRecords | undefined => {
    const isSelfNamed = snapshot.hostNames.has(question.name);
    const key = isSelfNamed ? `${question.type} ${tag} ${question.name}` : `${question.type} ${tag}`;
    let sets = prepared.get(snapshot);
    if (sets === undefined) prepared.set(snapshot, (sets = new Map()));
    const known = sets.get(key);
    if (known !== undefined) return known;
    const { instances, ttl } = select();
    if (instances.length === 0) return undefined;
    const set = serviceRecords(instances, question.type, { zone, ttl, name: question.name });
    if (sets.size < MAX_PREPARED) sets.set(key, set);
    return set;
  };

  const recordLimit = (type: number): number =>
    type === TYPE.SRV || settings.aRecordLimit === 0 ? Number.POSITIVE_INFINITY : settings.aRecordLimit;

  const finish = (set: ServiceRecords, question: Question, depth: number, more: Partial<Answer>) => {
    if (set.records.length === 0) return { ...empty(), additional: more.additional ?? [] };
    const isKnown = ({ host }: { host: string }) => hosts.isEnabled || zone.trim(toLookupName(host)) !== undefined;
    if (!set.hosts.some(isKnown)) return positive(set.records, more);
    return withHosts(set, question, depth, more);
  };

  // Follows targets that are names: a CNAME's records go beside it, an SRV target's become its additional ones.
  const withHosts = async (set: ServiceRecords, question: Question, depth: number, more: Partial<Answer>) => {
    const isSrv = question.type === TYPE.SRV;
    const wanted = set.hosts.slice(0, MAX_HOSTS);
    const type = isSrv ? TYPE.ANY : question.type;
    const found = await Promise.all(wanted.map(({ host }) => resolveHost(host, type, set.maxHostTtl, depth)));
    // The CNAME stays in front of what it leads to: some resolvers read no further otherwise.
    if (!isSrv) return positive([...set.records, ...found.flat()], { additional: more.additional ?? [] });
    const extras = new Map(wanted.map(({ record }, i) => [record, found[i] ?? []]));
    const records = set.records.map((rr) => ({ ...rr, extras: [...(rr.extras ?? []), ...(extras.get(rr) ?? [])] }));
    return positive(records, more);
  };

  const resolveHost = async (host: string, type: number, maxTtl: number, depth: number): Promise<Rr[]> => {
    if (type === TYPE.CNAME) return [];
    const name = toLookupName(host);
    if (zone.trim(name) === undefined) return hosts.lookup(host, type, maxTtl);
    if (depth < 1) return [];
    const answer = await resolve({ name, type }, NOBODY, depth - 1);
    const owner = toWireName(host);
    if (answer === "forward" || owner === undefined) return [];
    return answer.records.map((rr) => ({ ...rr, owner: rr.owner ?? owner }));
  };

  const node = (entry: NodeEntry | undefined, question: Question, depth: number): Answer | Promise<Answer> => {
    if (entry === undefined) return none();
    const set = nodeRecords(entry, question.type, zone);
    return finish(set, question, depth, { additional: set.additional });
  };

  const query = (result: QueryResult | undefined, question: Question, depth: number): Answer | Promise<Answer> => {
    const set =
      result &&
      prepare(result, question, "", () => ({
        instances: result.instances.map((i) => ({ ...i, datacenter: i.datacenter || result.datacenter })),
        ttl: result.ttlMs === undefined ? zone.serviceTtl(result.service) : result.ttlMs / 1000,
      }));
    if (set === undefined) return { ...none(), isSubnetScoped: true };
    return finish(set, question, depth, {
      isShuffled: !result?.isOrdered,
      isSubnetScoped: true,
      isUdpLimited: true,
      maxRecords: recordLimit(question.type),
    });
  };

  const virtual = (instances: Instance[], type: number): Answer => {
    const bytes = toAddressBytes(instances.find((i) => i.virtual !== "")?.virtual ?? "");
    return bytes ? address(bytes, type) : none();
  };

  const address = (bytes: Buffer, type: number): Answer => {
    const isWanted = type === TYPE.ANY || type === (bytes.length === 4 ? TYPE.A : TYPE.AAAA);
    return isWanted ? positive([addressRecord(undefined, zone.nodeTtl, bytes)]) : empty();
  };

  const apex = (type: number): Answer | Promise<Answer> =>
    after(directory.service(SERVERS), (snapshot) => {
      const { records, glue } = nameServers(zone, snapshot ? healthy(snapshot.instances, settings.onlyPassing) : []);
      if (type === TYPE.NS) return records.length > 0 ? positive(records, { additional: glue }) : empty();
      return positive([zone.soa(clock.now())], { authority: records, additional: glue });
    });

  const reverse = async (question: Question): Promise<Resolution> => {
    const hex = parseReverse(question.name);
    if (hex === undefined) return "forward";
    const { byAddress } = await directory.nodes();
    const found = byAddress.get(hex);
    const service = found ? undefined : await directory.serviceAt(formatAddress(hex));
    if (!found && service === undefined) return "forward";
    const owner = found ? `${found.node}.node` : `${service}.service`;
    const pointer = pointerRecord(`${owner}.${found?.datacenter || zone.settings.datacenter}.${zone.domain}`);
    const isAsked = question.type === TYPE.PTR || question.type === TYPE.ANY;
    return pointer && isAsked ? positive([pointer]) : empty();
  };

  return resolve;
}

const toLookupName = (host: string): string => host.toLowerCase().replace(/\.$/, "");

// Answers from memory stay synchronous: a promise for each question would cost a turn of the event loop.
function after<T, R>(value: T | Promise<T>, then: (value: T) => R | Promise<R>): R | Promise<R> {
  return value instanceof Promise ? value.then(then) : then(value);
}
