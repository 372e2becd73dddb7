/**
 * What is registered with this agent: services, their sidecars and checks. It is the truth for this node; the catalog is
 * brought to agree with it. Definitions are kept in the store, statuses in memory (a TTL's in the store too).
 */
import type { Clock, Logger } from "@heddle/daemon";
import { describeError, refusal } from "@heddle/daemon";
import {
  type CheckDefinition,
  type CheckStatus,
  type HealthCheck,
  type NodeService,
  type ServiceDefinition,
  toHealthCheck,
  toNodeService,
} from "@heddle/service-definition";
import type { Store, Write } from "@heddle/store";

const SERVICES = "services";
const CHECKS = "checks";
const TTL_STATES = "ttl-states";
const CHECK_STATES = "check-states";
const MAX_KEEP_MS = 1_000;

/** Who gave a definition: a reload takes away only what files gave. */
export type Source = "api" | "file";

export interface LocalService {
  definition: ServiceDefinition;
  source: Source;
  /** The service whose `sidecar_service` made this one. */
  sidecarOf?: string;
}

export interface LocalCheck {
  definition: CheckDefinition;
  source: Source;
  /** Of the check that a service has while it drains: when it goes at the latest, in milliseconds since the epoch. */
  drainUntil?: number;
}

/** A TTL check's last word. */
export interface TtlState {
  status: CheckStatus;
  output: string;
  /** Milliseconds since the epoch. */
  at: number;
}

export interface CheckState {
  status: CheckStatus;
  output: string;
}

export type LocalChange =
  | { kind: "check"; id: string; what: "definition" | "output" | "removed" | "status" }
  | { kind: "service"; id: string; what: "changed" | "removed" };

/** What the central configuration adds to what is registered. */
export interface Defaults {
  applyTo(definition: ServiceDefinition): ServiceDefinition;
}

export interface LocalStateOptions {
  store: Store;
  nodeName: string;
  clock: Clock;
  log: Logger;
  /** The machine was started anew: what passed before it did is tried again first. */
  isNewBoot?: boolean;
  /** Whether what checks print is dropped (`discard_check_output`). */
  discardOutput?: () => boolean;
}

export class LocalState {
  readonly #store: Store;
  readonly #options: LocalStateOptions;
  readonly #states = new Map<string, CheckState>();
  readonly #listeners = new Set<(changes: LocalChange[]) => void>();
  #defaults: Defaults | undefined;
  /** Tags that others gave services with EnableTagOverride, in the catalog: they count instead of the registered ones. */
  readonly #tagOverrides = new Map<string, string[]>();
  /** Services that were registered anew with other tags, which the catalog is to take over. */
  readonly #newTags = new Set<string>();

  constructor(options: LocalStateOptions) {
    this.#options = options;
    this.#store = options.store;
    for (const { key, value } of this.#store.list<LocalCheck>(CHECKS))
      this.#states.set(key, this.#initialState(value.definition));
  }

  onChange(listener: (changes: LocalChange[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  service(id: string): LocalService | undefined {
    return this.#store.get<LocalService>(SERVICES, id)?.value;
  }

  services(): LocalService[] {
    return this.#store.list<LocalService>(SERVICES).map((r) => r.value);
  }

  check(id: string): LocalCheck | undefined {
    return this.#store.get<LocalCheck>(CHECKS, id)?.value;
  }

  checks(): LocalCheck[] {
    return this.#store.list<LocalCheck>(CHECKS).map((r) => r.value);
  }

  checksOf(serviceId: string): LocalCheck[] {
    return this.checks().filter((c) => c.definition.ServiceID === serviceId);
  }

  checkState(id: string): CheckState {
    return this.#states.get(id) ?? { status: "critical", output: "" };
  }

  ttlState(id: string): TtlState | undefined {
    return this.#store.get<TtlState>(TTL_STATES, id)?.value;
  }

  /** The service as everybody is shown it: what was registered, with the central defaults filled in. */
  shown(id: string): ServiceDefinition | undefined {
    const found = this.service(id)?.definition;
    if (!found) return undefined;
    const tags = this.#tagOverrides.get(id);
    return this.#withDefaults(tags ? { ...found, Tags: tags } : found);
  }

  /** True where the tags of a service are newer here than in the catalog. */
  hasNewTags(id: string): boolean {
    return this.#newTags.has(id);
  }

  /** The catalog holds a service now: with these tags, where it has others than it was told. */
  tagsTold(id: string, tags: string[] | undefined): void {
    this.#newTags.delete(id);
    if (tags) this.#tagOverrides.set(id, tags);
  }

  /** The service as the catalog is to hold it. */
  nodeService(id: string): NodeService | undefined {
    const found = this.shown(id);
    return found && toNodeService(found);
  }

  /** Takes new central defaults over; what they change is told as a change of the service. */
  setDefaults(defaults: Defaults): void {
    const before = new Map(this.services().map(({ definition }) => [definition.ID, this.#withDefaults(definition)]));
    this.#defaults = defaults;
    const changed = [...before].filter(([id, definition]) => !isEqual(definition, this.shown(id)));
    this.#emit(changed.map(([id]) => ({ kind: "service", id, what: "changed" })));
  }

  #withDefaults(definition: ServiceDefinition): ServiceDefinition {
    return this.#defaults?.applyTo(definition) ?? definition;
  }

  /** The check as the catalog is to hold it and as the API shows it, with its status now. */
  healthCheck(id: string): HealthCheck | undefined {
    const found = this.check(id);
    if (!found) return undefined;
    const { status, output } = this.checkState(id);
    const service = this.service(found.definition.ServiceID)?.definition;
    return { ...toHealthCheck(this.#options.nodeName, found.definition, service), Status: status, Output: output };
  }

  /** The status of a service or, with "", of the node: the worst of the checks that count for it. */
  aggregate(serviceId: string): CheckStatus {
    const counted = this.checks().filter((c) => c.definition.ServiceID === "" || c.definition.ServiceID === serviceId);
    const statuses = new Set(counted.map((c) => this.checkState(c.definition.CheckID).status));
    return statuses.has("critical") ? "critical" : statuses.has("warning") ? "warning" : "passing";
  }

  /**
   * Stores services with their checks in one step. Checks that a service had and that are not given stay, unless
   * `replaceChecks`; a sidecar that its service no longer asks for goes.
   */
  async addServices(added: LocalService[], { replaceChecks = false } = {}): Promise<void> {
    const changes: LocalChange[] = [];
    await this.#store.run((view) => {
      changes.length = 0;
      const writes: Write[] = [];
      for (const local of added) {
        const id = local.definition.ID;
        const before = view.get<LocalService>(SERVICES, id)?.value;
        if (before && !isEqual(before.definition.Tags, local.definition.Tags)) {
          this.#tagOverrides.delete(id);
          this.#newTags.add(id);
        }
        if (!isEqual(before, local)) {
          writes.push({ table: SERVICES, key: id, value: local });
          changes.push({ kind: "service", id, what: "changed" });
        }
        const wanted = new Set(local.definition.Checks.map((c) => c.CheckID));
        for (const definition of local.definition.Checks)
          this.#checkWrite(view, { definition, source: local.source }, writes, changes);
        if (!replaceChecks) continue;
        for (const { key, value } of view.list<LocalCheck>(CHECKS)) {
          if (value.definition.ServiceID === id && !wanted.has(key) && value.definition.Type !== "maintenance")
            this.#removeCheckWrite(key, writes, changes);
        }
      }
      const ids = new Set(added.map((a) => a.definition.ID));
      for (const { value } of view.list<LocalService>(SERVICES)) {
        if (value.sidecarOf !== undefined && ids.has(value.sidecarOf) && !ids.has(value.definition.ID))
          this.#removeServiceWrites(view, value.definition.ID, writes, changes);
      }
      return { writes, result: undefined };
    });
    this.#emit(changes);
  }

  /** Removes a service with its sidecar and checks; false where there is none. */
  async removeService(id: string): Promise<boolean> {
    const changes: LocalChange[] = [];
    const { result } = await this.#store.run((view) => {
      changes.length = 0;
      const writes: Write[] = [];
      if (!view.get(SERVICES, id)) return { writes, result: false };
      this.#removeServiceWrites(view, id, writes, changes);
      for (const { value } of view.list<LocalService>(SERVICES))
        if (value.sidecarOf === id) this.#removeServiceWrites(view, value.definition.ID, writes, changes);
      return { writes, result: true };
    });
    this.#emit(changes);
    return result;
  }

  /** Adds a check of the node or of a registered service. Throws where its service is not registered. */
  async addCheck(local: LocalCheck): Promise<void> {
    const { ServiceID } = local.definition;
    if (ServiceID !== "" && !this.service(ServiceID))
      throw refusal(500, `ServiceID ${JSON.stringify(ServiceID)} does not exist`);
    const changes: LocalChange[] = [];
    await this.#store.run((view) => {
      changes.length = 0;
      const writes: Write[] = [];
      this.#checkWrite(view, local, writes, changes);
      return { writes, result: undefined };
    });
    this.#emit(changes);
  }

  async removeCheck(id: string): Promise<boolean> {
    const changes: LocalChange[] = [];
    const { result } = await this.#store.run((view) => {
      changes.length = 0;
      const writes: Write[] = [];
      const isThere = view.get(CHECKS, id) !== undefined;
      if (isThere) this.#removeCheckWrite(id, writes, changes);
      return { writes, result: isThere };
    });
    this.#emit(changes);
    return result;
  }

  /** Takes a check's new status and output over. What is the same already changes nothing. */
  setCheckState(id: string, status: CheckStatus, printed: string): void {
    if (!this.check(id)) return;
    const output = this.#options.discardOutput?.() ? "" : printed;
    const before = this.checkState(id);
    if (before.status === status && before.output === output) return;
    this.#states.set(id, { status, output });
    // Critical is where a check begins: its first failure changes no status, and is told all the same.
    const isFirstFailure = status === before.status && status !== "passing" && before.output === "";
    if (before.status !== status || isFirstFailure) {
      const fields = { check: id, status, output: output.slice(0, 200) };
      if (status === "passing") this.#options.log.info("Check is now passing", { check: id });
      else this.#options.log.warn(status === "critical" ? "Check is now critical" : "Check is now warning", fields);
    }
    const isStatus = before.status !== status;
    const tell = () => this.#emit([{ kind: "check", id, what: isStatus ? "status" : "output" }]);
    if (isStatus && !this.check(id)?.definition.TTLMs) void this.#keep(id, { status, output }).then(tell);
    else tell();
  }

  // What a check came to is kept, so that its service does not become critical by the agent's restart alone; and before
  // anybody is told, so that it is not passing again by a restart. A disk that takes long or is full holds nothing up.
  async #keep(id: string, state: CheckState): Promise<void> {
    const { clock, log } = this.#options;
    const late = Promise.withResolvers<void>();
    const timer = clock.after(MAX_KEEP_MS, late.resolve);
    const write = this.#store.run((view) => ({
      writes: view.get(CHECKS, id) ? [{ table: CHECK_STATES, key: id, value: state }] : [],
      result: undefined,
    }));
    const kept = write.catch((error: unknown) =>
      log.warn("cannot keep the state of a check", { check: id, error: describeError(error) }),
    );
    await Promise.race([kept, late.promise]);
    timer.cancel();
  }

  /** A TTL check's heartbeat: kept, so that a restart does not make it critical before its time. */
  async heartbeat(id: string, status: CheckStatus, printed: string): Promise<void> {
    const output = this.#options.discardOutput?.() ? "" : printed;
    const state: TtlState = { status, output, at: this.#options.clock.now() };
    await this.#store.run(() => ({ writes: [{ table: TTL_STATES, key: id, value: state }], result: undefined }));
    this.setCheckState(id, status, output);
  }

  #initialState(definition: CheckDefinition): CheckState {
    const ttl = definition.TTLMs ? this.ttlState(definition.CheckID) : undefined;
    if (ttl && ttl.at + (definition.TTLMs ?? 0) > this.#options.clock.now())
      return { status: ttl.status, output: ttl.output };
    // A TTL that is over is over; any other check is what it was until it is tried again.
    const kept = definition.TTLMs ? undefined : this.#store.get<CheckState>(CHECK_STATES, definition.CheckID)?.value;
    const isKept = kept && !(this.#options.isNewBoot && kept.status !== "critical");
    return isKept ? kept : { status: definition.Status ?? "critical", output: "" };
  }

  #checkWrite(view: { get: Store["get"] }, local: LocalCheck, writes: Write[], changes: LocalChange[]): void {
    const id = local.definition.CheckID;
    const before = view.get<LocalCheck>(CHECKS, id)?.value;
    if (before && isEqual(before, local)) return;
    writes.push({ table: CHECKS, key: id, value: local });
    // A definition that changes only in words keeps its status; anything else starts again.
    if (!before || !this.#states.has(id)) this.#states.set(id, this.#initialState(local.definition));
    changes.push({ kind: "check", id, what: "definition" });
  }

  #removeServiceWrites(view: { list: Store["list"] }, id: string, writes: Write[], changes: LocalChange[]): void {
    writes.push({ table: SERVICES, key: id });
    changes.push({ kind: "service", id, what: "removed" });
    for (const { key, value } of view.list<LocalCheck>(CHECKS))
      if (value.definition.ServiceID === id) this.#removeCheckWrite(key, writes, changes);
  }

  #removeCheckWrite(id: string, writes: Write[], changes: LocalChange[]): void {
    writes.push({ table: CHECKS, key: id }, { table: TTL_STATES, key: id }, { table: CHECK_STATES, key: id });
    changes.push({ kind: "check", id, what: "removed" });
  }

  #emit(changes: LocalChange[]): void {
    for (const change of changes)
      if (change.kind === "check" && change.what === "removed") this.#states.delete(change.id);
    if (changes.length > 0) for (const listener of this.#listeners) listener(changes);
  }
}

const isEqual = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
