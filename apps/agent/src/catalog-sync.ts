/**
 * Anti-entropy: brings the catalog's picture of this node to what the local state says. At once on each change, and in full
 * at start, whenever the catalog is back, and at Consul's staggered intervals.
 */
import type { ApiClient } from "@heddle/api-client";
import { backoffMs, describeError, type Health, type Logger, sleep } from "@heddle/daemon";
import type { HealthCheck, NodeService } from "@heddle/service-definition";
import type { LocalChange, LocalState } from "./local-state.ts";

const SYNC_INTERVAL_MS = 60_000; // Consul's, up to 128 nodes
const RETRY_BASE_MS = 100;
const RETRY_MAX_MS = 5_000;
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
  node: NodeFacts;
  /** What a server registers of itself: the service `consul`. */
  serverService?: NodeService | undefined;
  /** Output that changes alone is brought to the catalog at most this often. */
  checkUpdateIntervalMs: number;
  log: Logger;
}

export class CatalogSync {
  readonly #options: CatalogSyncOptions;
  readonly #dirty = { services: new Set<string>(), checks: new Set<string>() };
  /** What this agent has put into the catalog: only that is ever taken out again. */
  readonly #owned = { services: new Set<string>(), checks: new Set<string>() };
  readonly #deferred = new Map<string, NodeJS.Timeout>();
  #wake: () => void = () => {};
  #idle: Promise<void> = Promise.resolve();
  #isFull = false;
  #health: Health = { started: false, live: true, ready: false, details: "not synced yet" };

  constructor(options: CatalogSyncOptions) {
    this.#options = options;
    options.state.onChange((changes) => this.#changed(changes));
  }

  health(): Health {
    return this.#health;
  }

  /** Resolves when what has changed so far is in the catalog, or at once where the catalog is away. */
  async flush(): Promise<void> {
    if (this.#hasWork()) this.#idle = this.#push();
    await this.#idle;
  }

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { log } = this.#options;
    let attempt = 0;
    while (!signal.aborted) {
      try {
        if (this.#isFull) await this.#pushChanges();
        else await this.#syncAll();
        if (attempt > 0) log.info("the catalog is back, synced in full", {});
        attempt = 0;
        this.#health = { started: true, live: true, ready: true };
        if (this.#hasWork()) continue;
        await this.#untilWork(SYNC_INTERVAL_MS + Math.random() * SYNC_INTERVAL_MS, signal);
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
    let isTimeout = true;
    const woken = new Promise<void>((resolve) => {
      this.#wake = () => {
        isTimeout = false;
        resolve();
      };
    });
    await Promise.race([woken, sleep(timeoutMs, signal).catch(() => {})]);
    if (isTimeout) this.#isFull = false;
  }

  #changed(changes: LocalChange[]): void {
    for (const { kind, id, what } of changes) {
      if (kind === "service") this.#dirty.services.add(id);
      else if (what === "output") this.#defer(id);
      else this.#dirty.checks.add(id);
    }
    if (this.#hasWork()) this.#wake();
  }

  #defer(id: string): void {
    const { checkUpdateIntervalMs } = this.#options;
    if (checkUpdateIntervalMs === 0) {
      this.#dirty.checks.add(id);
      return;
    }
    if (this.#deferred.has(id)) return;
    const timer = setTimeout(
      () => {
        this.#deferred.delete(id);
        this.#dirty.checks.add(id);
        this.#wake();
      },
      checkUpdateIntervalMs * (0.5 + Math.random() / 2),
    );
    timer.unref();
    this.#deferred.set(id, timer);
  }

  async #push(): Promise<void> {
    try {
      if (this.#isFull) await this.#pushChanges();
    } catch (error) {
      // The loop tries again; what could not be brought there is still marked by a full sync.
      this.#options.log.warn("cannot bring a change to the catalog yet", { error: describeError(error) });
      this.#isFull = false;
      this.#wake();
    }
  }

  async #syncAll(): Promise<void> {
    const { catalog, state, node, serverService, log } = this.#options;
    const path = encodeURIComponent(node.Node);
    const { body: held } = await catalog.get<{ Services: Record<string, NodeService> } | null>(
      `/v1/catalog/node/${path}`,
    );
    const { body: checks } = await catalog.get<HealthCheck[]>(`/v1/health/node/${path}`);
    const serfHealth = {
      Node: node.Node,
      CheckID: SERF_HEALTH,
      Name: "Serf Health Status",
      Status: "passing",
      Output: "Agent alive and reachable",
    };
    await catalog.put("/v1/catalog/register", { body: { ...node, Service: serverService, Check: serfHealth } });
    if (!this.#health.started)
      log.info("member joined, marking health alive", { member: node.Node, address: node.Address });
    log.info("Synced node info", { node: node.Node });
    for (const { definition } of state.services()) this.#dirty.services.add(definition.ID);
    for (const { definition } of state.checks()) this.#dirty.checks.add(definition.CheckID);
    for (const id of this.#owned.services) if (held?.Services[id]) this.#dirty.services.add(id);
    for (const id of this.#owned.checks) if (checks.some((c) => c.CheckID === id)) this.#dirty.checks.add(id);
    this.#isFull = true;
    await this.#pushChanges();
  }

  async #pushChanges(): Promise<void> {
    while (this.#hasWork()) {
      const services = [...this.#dirty.services];
      const checks = [...this.#dirty.checks];
      this.#dirty.services.clear();
      this.#dirty.checks.clear();
      try {
        for (const id of services) await this.#pushService(id, checks);
        for (const id of checks) await this.#pushCheck(id);
      } catch (error) {
        for (const id of services) this.#dirty.services.add(id);
        for (const id of checks) this.#dirty.checks.add(id);
        throw error;
      }
    }
  }

  /** Brings one service, with those of its checks that wait too, to the catalog. */
  async #pushService(id: string, checks: string[]): Promise<void> {
    const { catalog, state, node, log } = this.#options;
    const service = state.nodeService(id);
    if (!service) {
      await catalog.put("/v1/catalog/deregister", { body: { Node: node.Node, ServiceID: id } });
      this.#owned.services.delete(id);
      log.info("Deregistered service", { service: id });
      return;
    }
    // A service without metadata has null there in the catalog, and {} at its agent.
    const Service = Object.keys(service.Meta).length > 0 ? service : { ...service, Meta: null };
    const mine = checks.filter((check) => state.check(check)?.definition.ServiceID === id);
    const Checks = mine.flatMap((check) => toCatalogCheck(state.healthCheck(check)));
    await catalog.put("/v1/catalog/register", {
      body: { Node: node.Node, Address: node.Address, SkipNodeUpdate: true, Service, Checks },
    });
    this.#owned.services.add(id);
    log.info("Synced service", { service: id });
    for (const check of mine) {
      this.#owned.checks.add(check);
      log.info("Synced check", { check });
      checks.splice(checks.indexOf(check), 1);
    }
  }

  async #pushCheck(id: string): Promise<void> {
    const { catalog, state, node, log } = this.#options;
    const check = state.healthCheck(id);
    if (!check) {
      await catalog.put("/v1/catalog/deregister", { body: { Node: node.Node, CheckID: id } });
      this.#owned.checks.delete(id);
      log.info("Deregistered check", { check: id });
      return;
    }
    // Its service is gone meanwhile: the catalog took the check away with it.
    if (check.ServiceID !== "" && !state.service(check.ServiceID)) return;
    const [Check] = toCatalogCheck(check);
    await catalog.put("/v1/catalog/register", {
      body: { Node: node.Node, Address: node.Address, SkipNodeUpdate: true, Check },
    });
    this.#owned.checks.add(id);
    log.info("Synced check", { check: id, status: check.Status });
  }
}

function toCatalogCheck(check: HealthCheck | undefined) {
  return check ? [check] : [];
}
