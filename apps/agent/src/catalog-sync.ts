/**
 * Anti-entropy: brings the catalog's picture of this node to what the local state says. At once on each change, and in full
 * at start, whenever the catalog is back, and at Consul's staggered intervals. Each record there has an owner: only an
 * agent's own are ever taken out, whether this one remembers them or not; those that others changed are put right.
 */
import { type ApiClient, ApiError } from "@heddle/api-client";
import { backoffMs, describeError, type Health, type Logger, sleep, UnavailableError } from "@heddle/daemon";
import type { NodeService } from "@heddle/service-definition";
import type { LocalChange, LocalState } from "./local-state.ts";
import { type Registration, toRegistrations } from "./registrations.ts";
import { syncIntervalMs } from "./sync-interval.ts";

const RETRY_BASE_MS = 100;
const RETRY_MAX_MS = 5_000;
const FLUSH_MS = 2_000; // a catalog that hangs holds up no registration for longer: it is brought there later
const SETTLE_MS = 10_000;
const SETTLE_LOOK_MS = 20;
const MAX_BATCH = 64; // registrations in one request
export const SERF_HEALTH = "serfHealth";

export interface NodeFacts {
  ID: string;
  Node: string;
  Address: string;
  TaggedAddresses: Record<string, string>;
  NodeMeta: Record<string, string>;
}

export interface CatalogSyncOptions {
  catalog: ApiClient;
  state: LocalState;
  node: () => NodeFacts;
  /** What a server registers of itself: the service `consul`. */
  serverService?: NodeService | undefined;
  /** Output that changes alone is brought to the catalog at most this often. */
  checkUpdateIntervalMs: number;
  log: Logger;
}

/** What the catalog says of a registration: the fields that were different there, null where it was not there at all. */
interface Outcome {
  Service?: string[] | null;
  Tags?: string[];
  Checks: Record<string, string[] | null>;
}

/** What is there of this node. */
interface Held {
  Services: { ID: string; Owner: string }[];
  Checks: { ID: string; Owner: string }[];
  Members: number;
}

export class CatalogSync {
  readonly #options: CatalogSyncOptions;
  readonly #dirty = { services: new Set<string>(), checks: new Set<string>() };
  /** What has been brought there and not changed here since: where it differs all the same, it was others. */
  readonly #synced = { services: new Set<string>(), checks: new Set<string>() };
  readonly #deferred = new Map<string, NodeJS.Timeout>();
  #wake: () => void = () => {};
  /** The round that brings changes to the catalog, and the one that takes what changes meanwhile. */
  #running: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;
  #isFull = false;
  #members = 1;
  #health: Health = { started: false, live: true, ready: false, details: "not synced yet" };

  constructor(options: CatalogSyncOptions) {
    this.#options = options;
    options.state.onChange((changes) => this.#changed(changes));
  }

  health(): Health {
    return this.#health;
  }

  /** Resolves when what has changed so far is in the catalog, or soon where the catalog is away. */
  async flush(): Promise<void> {
    if (!this.#isFull) return;
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, FLUSH_MS);
    const brought = (this.#hasWork() ? this.#round() : this.#running).catch((error: unknown) => {
      // The loop tries again; what could not be brought there is still marked by a full sync.
      this.#options.log.warn("cannot bring a change to the catalog yet", { error: describeError(error) });
      this.#isFull = false;
      this.#wake();
    });
    await Promise.race([brought, late.promise]);
    clearTimeout(timer);
  }

  /** Resolves once a full sync has been made and what has changed so far is in the catalog; rejects where that takes too long. */
  async settled(timeoutMs = SETTLE_MS): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!this.#isFull || this.#hasWork()) {
      if (performance.now() > deadline)
        throw new UnavailableError("the catalog does not know yet what runs on this node");
      await (this.#isFull ? this.flush() : sleep(SETTLE_LOOK_MS));
    }
    await this.#running.catch(() => {});
  }

  /** Has the whole node compared with the catalog at once: what that holds may have changed without this agent. */
  resync(): void {
    this.#isFull = false;
    this.#wake();
  }

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    let attempt = 0;
    while (!signal.aborted) {
      try {
        if (this.#isFull) await this.#round();
        else await this.#syncAll();
        if (attempt > 0) log.info("the catalog is back, synced in full", {});
        attempt = 0;
        this.#health = { started: true, live: true, ready: true };
        if (this.#hasWork()) continue;
        await this.#untilWork(syncIntervalMs(this.#members) * (1 + Math.random()), signal);
      } catch (error) {
        if (signal.aborted) return;
        if (attempt === 0) log.error("cannot sync with the catalog, trying again", { error: describeError(error) });
        this.#health = {
          started: this.#health.started,
          live: true,
          ready: this.#health.started,
          details: `catalog: ${describeError(error)}`,
        };
        this.#isFull = false;
        await sleep(backoffMs(attempt++, RETRY_BASE_MS, RETRY_MAX_MS), signal).catch(() => {});
      }
    }
  }

  close(): void {
    for (const timer of this.#deferred.values()) clearTimeout(timer);
  }

  #hasWork(): boolean {
    return this.#dirty.services.size + this.#dirty.checks.size > 0;
  }

  async #untilWork(timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", finish);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#isFull = false;
        finish();
      }, timeoutMs);
      signal.addEventListener("abort", finish, { once: true });
      this.#wake = finish;
    });
  }

  #changed(changes: LocalChange[]): void {
    for (const { kind, id, what } of changes) {
      if (what === "output") this.#defer(id);
      else this.#mark(kind === "service" ? "services" : "checks", id);
    }
    if (this.#hasWork()) this.#wake();
  }

  #mark(kind: "checks" | "services", id: string): void {
    this.#dirty[kind].add(id);
    this.#synced[kind].delete(id);
  }

  #defer(id: string): void {
    const { checkUpdateIntervalMs } = this.#options;
    if (checkUpdateIntervalMs === 0) {
      this.#mark("checks", id);
      return;
    }
    if (this.#deferred.has(id)) return;
    const timer = setTimeout(
      () => {
        this.#deferred.delete(id);
        this.#mark("checks", id);
        this.#wake();
      },
      checkUpdateIntervalMs * (0.5 + Math.random() / 2),
    );
    timer.unref();
    this.#deferred.set(id, timer);
  }

  /** Brings what is marked to the catalog; callers of one moment share a round, and rounds follow each other. */
  #round(): Promise<void> {
    const start = () => {
      this.#next = undefined;
      return this.#pushChanges();
    };
    this.#next ??= this.#running = this.#running.then(start, start);
    return this.#next;
  }

  async #syncAll(): Promise<void> {
    const { catalog, state, serverService, log } = this.#options;
    const node = this.#options.node();
    const { body: held } = await catalog.get<Held | null>(`/v1/internal/node/${encodeURIComponent(node.Node)}`);
    const serfHealth = {
      Node: node.Node,
      CheckID: SERF_HEALTH,
      Name: "Serf Health Status",
      Status: "passing",
      Output: "Agent alive and reachable",
    };
    // Once it is there, it is the catalog's to say whether this node lives.
    const isKnown = held?.Checks.some(({ ID }) => ID === SERF_HEALTH) === true;
    const body = { ...node, Service: serverService, ...(!isKnown && { Check: serfHealth }) };
    await catalog.put("/v1/catalog/register", { body });
    if (!this.#health.started)
      log.info("member joined, marking health alive", { member: node.Node, address: node.Address });
    log.info("Synced node info", { node: node.Node });
    for (const { definition } of state.services()) this.#dirty.services.add(definition.ID);
    for (const { definition } of state.checks()) this.#dirty.checks.add(definition.CheckID);
    for (const { ID } of held?.Services.filter(isAgents) ?? []) this.#dirty.services.add(ID);
    for (const { ID } of held?.Checks.filter(isAgents) ?? []) this.#dirty.checks.add(ID);
    this.#members = held?.Members ?? 1;
    if (!held && this.#health.started) {
      log.warn("the catalog does not know this node any more, telling it everything", { node: node.Node });
      this.#synced.services.clear();
      this.#synced.checks.clear();
    }
    this.#isFull = true;
    await this.#round(); // not beside one: who flushes meanwhile waits for all that is on its way
  }

  async #pushChanges(): Promise<void> {
    while (this.#hasWork()) {
      const services = [...this.#dirty.services];
      const checks = new Set(this.#dirty.checks);
      this.#dirty.services.clear();
      this.#dirty.checks.clear();
      try {
        await this.#pushRemovals(services, checks);
        await this.#pushRegistrations(services, checks);
      } catch (error) {
        for (const id of services) this.#dirty.services.add(id);
        for (const id of checks) this.#dirty.checks.add(id);
        throw error;
      }
    }
  }

  async #pushRemovals(services: string[], checks: Set<string>): Promise<void> {
    const { catalog, state, log } = this.#options;
    const node = this.#options.node();
    for (const id of services) {
      if (state.service(id)) continue;
      await catalog.put("/v1/catalog/deregister", { body: { Node: node.Node, ServiceID: id } });
      this.#synced.services.delete(id);
      log.info("Deregistered service", { service: id });
    }
    for (const id of checks) {
      if (state.check(id)) continue;
      await catalog.put("/v1/catalog/deregister", { body: { Node: node.Node, CheckID: id } });
      this.#synced.checks.delete(id);
      log.info("Deregistered check", { check: id });
    }
  }

  async #pushRegistrations(services: string[], checks: Set<string>): Promise<void> {
    const { state } = this.#options;
    const node = this.#options.node();
    const isSynced = (id: string) => this.#synced.checks.has(id);
    const registrations = toRegistrations({ services, checks }, { state, node, isSynced });
    while (registrations.length > 0) await this.#register(registrations.splice(0, MAX_BATCH));
  }

  /** Several go in one request; where the catalog refuses that, one by one, so that one bad one holds up no other. */
  async #register(registrations: Registration[]): Promise<void> {
    const { catalog, log } = this.#options;
    try {
      const { body } = await catalog.put<Outcome[]>("/v1/internal/registrations", { body: registrations });
      registrations.forEach((registration, i) => this.#settle(registration, body[i]));
    } catch (error) {
      if (!isRefusal(error)) throw error;
      if (registrations.length > 1) {
        for (const registration of registrations) await this.#register([registration]);
        return;
      }
      const [only] = registrations;
      const what = only?.Service ? { service: only.Service.ID } : { check: only?.Checks[0]?.CheckID };
      log.error("the catalog refused a registration", { ...what, error: describeError(error) });
    }
  }

  #settle({ Service, Checks }: Registration, outcome: Outcome | undefined): void {
    const { state, log } = this.#options;
    if (Service) {
      this.#report("service", Service.ID, outcome?.Service);
      if (this.#note("services", Service.ID, outcome?.Service)) log.info("Synced service", { service: Service.ID });
      state.tagsTold(Service.ID, outcome?.Tags);
    }
    for (const { CheckID, Status } of Checks) {
      const found = outcome?.Checks[CheckID];
      this.#report("check", CheckID, found);
      if (this.#note("checks", CheckID, found)) log.info("Synced check", { check: CheckID, status: Status });
    }
  }

  /** Remembers that it is there now; true where that is news. */
  #note(kind: "checks" | "services", id: string, found: string[] | null | undefined): boolean {
    const isNews = !this.#synced[kind].has(id) || found === null || (found?.length ?? 0) > 0;
    if (!this.#dirty[kind].has(id)) this.#synced[kind].add(id);
    return isNews;
  }

  #report(kind: "check" | "service", id: string, found: string[] | null | undefined): void {
    const { log } = this.#options;
    if (!this.#synced[`${kind}s`].has(id) || found === undefined || found?.length === 0) return;
    if (found === null)
      log.warn(`a ${kind} of this node was taken out of the catalog by others, putting it back`, { [kind]: id });
    else
      log.warn(`a ${kind} of this node was changed in the catalog by others, putting it right`, {
        [kind]: id,
        fields: found.join(", "),
      });
  }
}

const isAgents = ({ Owner }: { Owner: string }): boolean => Owner !== "";

/** Whether the catalog has understood and does not want it, so that sending it again at once is of no use. */
const isRefusal = (error: unknown): boolean =>
  error instanceof ApiError && ![403, 429, 503, 504].includes(error.status);
