/**
 * The catalog's memory: the store's records plus the indexes that reads need, brought up to date with each commit, and the
 * topics that the commit touches.
 */
import { isDeepStrictEqual } from "node:util";
import {
  CONFIG_ENTRIES,
  CONFIG_TOPIC,
  type ConfigEntry,
  configEntryTopic,
  configKindTopic,
} from "@heddle/config-entries";
import type { Change, Commit, Store, StoredRecord } from "@heddle/store";
import { Answers } from "./answers.ts";
import { GatewayLinks, linkedServices } from "./gateway-links.ts";
import {
  CHECKS,
  INTENTIONS,
  KV,
  nodePrefix,
  NODES,
  SERVICES,
  serviceNameKey,
  type CheckRecord,
  type IntentionRecord,
  type NodeRecord,
  type ServiceRecord,
} from "./records.ts";
import { Topics, type Waiter } from "./topics.ts";

export class CatalogState {
  readonly store: Store;
  readonly topics: Topics;
  readonly answers: Answers;
  /** Keys of the instances of a service, by its name in lower case. */
  readonly #byName = new Map<string, Set<string>>();
  /** Keys of the instances that speak Connect for a service: its proxies, and itself where native. */
  readonly #byDestination = new Map<string, Set<string>>();
  /** Keys of the instances with an address of their own: what a reverse lookup asks for. */
  readonly #byAddress = new Map<string, Set<string>>();

  /** What a name's instances are called and tagged, by their name in lower case; made anew where one of them changed. */
  readonly #tagsByName = new Map<string, Record<string, string[]>>();

  #links: GatewayLinks;

  constructor(store: Store) {
    this.store = store;
    this.#links = new GatewayLinks(store);
    this.topics = new Topics(store.wasEmpty ? 1 : store.revision);
    this.answers = new Answers(this.topics);
    for (const record of store.list<ServiceRecord>(SERVICES)) this.#index(record);
    store.subscribe((commit) => this.#apply(commit));
  }

  node(name: string): StoredRecord<NodeRecord> | undefined {
    return this.store.get(NODES, name.toLowerCase());
  }

  nodes(): StoredRecord<NodeRecord>[] {
    return this.store.list(NODES);
  }

  servicesOf(node: string): StoredRecord<ServiceRecord>[] {
    return this.store.list(SERVICES, nodePrefix(node));
  }

  checksOf(node: string): StoredRecord<CheckRecord>[] {
    return this.store.list(CHECKS, nodePrefix(node));
  }

  checks(): StoredRecord<CheckRecord>[] {
    return this.store.list(CHECKS);
  }

  /** The instances of a service, in the order of their nodes and ids. */
  instances(name: string): StoredRecord<ServiceRecord>[] {
    return this.#records(this.#byName.get(serviceNameKey(name)));
  }

  /** The instances to dial for a service over Connect: its own, and the terminating gateways that lead to it. */
  connectInstances(name: string): StoredRecord<ServiceRecord>[] {
    const key = serviceNameKey(name);
    const own = this.#records(this.#byDestination.get(key));
    const gateways = this.#links.terminatingOf(key, () => this.#isPlain(key));
    return gateways.length === 0 ? own : own.concat(gateways.flatMap((gateway) => this.instances(gateway)));
  }

  /** The instances of the ingress gateways that let callers in to a service. */
  ingressInstances(name: string): StoredRecord<ServiceRecord>[] {
    const key = serviceNameKey(name);
    return this.#links.ingressOf(key, () => this.#isPlain(key)).flatMap((gateway) => this.instances(gateway));
  }

  /** The names of the services that are neither proxies nor gateways, nor Consul's own. */
  plainNames(): string[] {
    const names = [...this.#byName.keys()].filter((key) => this.#isPlain(key));
    return names.map((key) => this.instances(key)[0]?.value.Service.Service ?? key).sort();
  }

  #isPlain(key: string): boolean {
    return key !== "consul" && this.instances(key).some(({ value }) => !value.Service.Kind);
  }

  /** The instances that have this address themselves, not by their node. */
  instancesAt(address: string): StoredRecord<ServiceRecord>[] {
    return this.#records(this.#byAddress.get(address.toLowerCase()));
  }

  /** Every service's name, as its instances spell it, with their tags. */
  *names(): Iterable<[name: string, tags: string[]]> {
    for (const key of [...this.#byName.keys()].sort()) {
      let tags = this.#tagsByName.get(key);
      if (!tags) this.#tagsByName.set(key, (tags = namesWithTags(this.instances(key))));
      yield* Object.entries(tags);
    }
  }

  /** Every instance of every service. */
  services(): StoredRecord<ServiceRecord>[] {
    return this.store.list(SERVICES);
  }

  #records(keys: Set<string> | undefined): StoredRecord<ServiceRecord>[] {
    if (!keys) return [];
    const found = [...keys].map((key) => this.store.get<ServiceRecord>(SERVICES, key) as StoredRecord<ServiceRecord>);
    return found.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  #apply(commit: Commit): void {
    const touched = new Set<string>();
    const freshened = new Set<string>();
    const woken = new Set<Waiter>();
    if (commit.changes.some((change) => change.table === CONFIG_ENTRIES)) this.#links = new GatewayLinks(this.store);
    for (const change of commit.changes) {
      if (change.table === SERVICES) {
        if (change.before) this.#unindex(change.before as StoredRecord<ServiceRecord>);
        if (change.after) this.#index(change.after as StoredRecord<ServiceRecord>);
      }
      if (change.table === KV) this.topics.touchKey(change.key, commit.revision, !change.after, woken);
      else this.#topicsOf(change, isOutputAlone(change) ? freshened : touched);
    }
    for (const topic of freshened) this.topics.freshen(topic, commit.revision);
    for (const topic of touched) this.topics.touch(topic, commit.revision, woken);
    // After the commit's own callers have gone on: a burst of commits wakes a waiter once.
    if (woken.size > 0) setImmediate(() => woken.forEach((waiter) => waiter.wake()));
  }

  #topicsOf(change: Change, touched: Set<string>): void {
    touched.add(change.table);
    for (const record of [change.before, change.after]) {
      if (!record) continue;
      if (change.table === NODES) {
        const node = record.value as NodeRecord;
        touched.add(`node/${node.Node.toLowerCase()}`);
        this.#touchInstances(node.Node, touched);
      } else if (change.table === SERVICES) {
        const { Node, Service } = record.value as ServiceRecord;
        touched.add(`node/${Node.toLowerCase()}`);
        this.#touchService(Service, touched, "service");
      } else if (change.table === CHECKS) this.#touchCheck(record.value as CheckRecord, touched);
      else if (change.table === CONFIG_ENTRIES) {
        this.#touchEntry(record.value as ConfigEntry, touched);
      } else if (change.table === INTENTIONS) {
        const { DestinationName } = record.value as IntentionRecord;
        touched.add(CONFIG_TOPIC).add(configKindTopic("service-intentions"));
        touched.add(configEntryTopic("service-intentions", DestinationName));
      }
    }
  }

  // A check is not part of what /v1/catalog answers, so only the health topics of what it covers are touched.
  #touchCheck(check: CheckRecord, touched: Set<string>): void {
    touched.add(`checks/${check.Node.toLowerCase()}`);
    if (check.ServiceID === "") {
      for (const { value } of this.servicesOf(check.Node)) this.#touchService(value.Service, touched, "health");
      return;
    }
    touched.add(`checks-of/${serviceNameKey(check.ServiceName)}`);
    const instance = this.store.get<ServiceRecord>(SERVICES, `${nodePrefix(check.Node)}${check.ServiceID}`);
    if (instance) this.#touchService(instance.value.Service, touched, "health");
    else touched.add(`health/${serviceNameKey(check.ServiceName)}`);
  }

  // What a gateway serves depends on entries of several kinds (a service's protocol), who leads to a service on two.
  #touchEntry(entry: ConfigEntry, touched: Set<string>): void {
    touched.add(configKindTopic(entry.Kind)).add(configEntryTopic(entry.Kind, entry.Name));
    touched.add("gateway-services");
    if (entry.Kind === "ingress-gateway") touched.add("health-ingress");
    if (entry.Kind === "terminating-gateway") this.#touchLinked(linkedServices(entry), touched, "service");
  }

  #touchService(service: ServiceRecord["Service"], touched: Set<string>, what: "health" | "service"): void {
    touchInstance(service, touched, what);
    const name = serviceNameKey(service.Service);
    const linked = this.#links.linkedTo(name);
    if (linked.size > 0) this.#touchLinked(linked, touched, what);
    if (this.#links.isIngress(name)) touched.add("health-ingress");
    if (what === "service" && this.#links.hasWildcard) {
      touched.add("gateway-services").add("health-ingress");
      this.#touchLinked([name], touched, what);
    }
  }

  #touchLinked(services: Iterable<string>, touched: Set<string>, what: "health" | "service"): void {
    for (const service of services) {
      for (const name of service === "*" ? this.#byName.keys() : [service]) {
        touched.add(`health-connect/${name}`);
        if (what === "service") touched.add(`connect/${name}`);
      }
    }
  }

  #touchInstances(node: string, touched: Set<string>): void {
    for (const { value } of this.servicesOf(node)) this.#touchService(value.Service, touched, "service");
  }

  #index(record: StoredRecord<ServiceRecord>): void {
    const name = serviceNameKey(record.value.Service.Service);
    add(this.#byName, name, record.key);
    this.#tagsByName.delete(name);
    const destination = destinationOf(record.value.Service);
    if (destination !== undefined) add(this.#byDestination, destination, record.key);
    if (record.value.Service.Address) add(this.#byAddress, record.value.Service.Address.toLowerCase(), record.key);
  }

  #unindex(record: StoredRecord<ServiceRecord>): void {
    const name = serviceNameKey(record.value.Service.Service);
    remove(this.#byName, name, record.key);
    this.#tagsByName.delete(name);
    const destination = destinationOf(record.value.Service);
    if (destination !== undefined) remove(this.#byDestination, destination, record.key);
    if (record.value.Service.Address) remove(this.#byAddress, record.value.Service.Address.toLowerCase(), record.key);
  }
}

/** A check that says the same in other words: who waits for its status is not woken by it. */
function isOutputAlone({ table, before, after }: Change): boolean {
  if (table !== CHECKS || !before || !after) return false;
  const [was, is] = [before.value as CheckRecord, after.value as CheckRecord];
  return was.Status === is.Status && isDeepStrictEqual({ ...was, Output: "" }, { ...is, Output: "" });
}

/** Names of services with the tags of their instances, in the order of their first appearance. */
export function namesWithTags(records: StoredRecord<ServiceRecord>[]): Record<string, string[]> {
  const names: Record<string, string[]> = Object.create(null) as Record<string, string[]>;
  for (const { value } of records) {
    const tags = (names[value.Service.Service] ??= []);
    for (const tag of value.Service.Tags) if (!tags.includes(tag)) tags.push(tag);
  }
  return names;
}

/** The service that an instance speaks Connect for, in lower case. */
function destinationOf(service: ServiceRecord["Service"]): string | undefined {
  if (service.Kind === "connect-proxy") return serviceNameKey(service.Proxy?.DestinationServiceName ?? "");
  return service.Connect?.Native ? serviceNameKey(service.Service) : undefined;
}

// Topics: `service/x` for the instances of x, `connect/x` for those that speak Connect for it, and the same with their
// checks: `health/x`, `health-connect/x`. What changes an instance changes its health answers too.
// `gateway-services` and `health-ingress` are for what gateways serve, and for the instances of ingress gateways.
function touchInstance(service: ServiceRecord["Service"], touched: Set<string>, what: "health" | "service"): void {
  const name = serviceNameKey(service.Service);
  const destination = destinationOf(service);
  touched.add(`health/${name}`);
  if (destination !== undefined) touched.add(`health-connect/${destination}`);
  if (what === "health") return;
  touched.add(`service/${name}`);
  if (destination !== undefined) touched.add(`connect/${destination}`);
}

function add(index: Map<string, Set<string>>, name: string, key: string): void {
  let keys = index.get(name);
  if (!keys) index.set(name, (keys = new Set()));
  keys.add(key);
}

function remove(index: Map<string, Set<string>>, name: string, key: string): void {
  const keys = index.get(name);
  keys?.delete(key);
  if (keys?.size === 0) index.delete(name);
}
