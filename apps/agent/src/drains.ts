/**
 * Draining a service: it leaves DNS and the lists of healthy instances at once, what is open goes on, and when the last
 * connection has ended (or the time is over) it is deregistered. Its sidecar goes with it.
 */
import { type Clock, describeError, formatDuration, type Logger, type Timer } from "@heddle/daemon";
import type { LocalState } from "./local-state.ts";
import { openConnections } from "./open-connections.ts";

const POLL_MS = 500;
const MIN_DRAIN_MS = 2_000; // callers learn within a second, and may be about to connect until then
const QUIET_POLLS = 2; // a moment without connections may lie between two requests
const PREFIX = "_service_drain:";

export interface DrainsOptions {
  state: LocalState;
  clock: Clock;
  log: Logger;
  /** How many connections are open to any of these ports; undefined where nobody can tell. */
  count?: (ports: ReadonlySet<number>) => Promise<number | undefined>;
}

interface Drain {
  startedAt: number;
  until: number;
  quiet: number;
  timer: Timer | undefined;
}

export class Drains {
  readonly #options: DrainsOptions;
  readonly #drains = new Map<string, Drain>();
  #isClosed = false;

  /** Goes on with what was draining when the agent ended. */
  constructor(options: DrainsOptions) {
    this.#options = options;
    for (const { definition, drainUntil } of options.state.checks())
      if (drainUntil !== undefined && definition.CheckID === PREFIX + definition.ServiceID)
        if (!this.#isSidecar(definition.ServiceID)) this.#watch(definition.ServiceID, drainUntil);
  }

  /** Begins to drain a service of this node; where it drains already, its time is set anew. */
  async start(id: string, timeoutMs: number): Promise<void> {
    const { state, clock, log } = this.#options;
    const until = clock.now() + timeoutMs;
    const at = new Date(until).toISOString();
    for (const ServiceID of this.#group(id)) {
      const definition = {
        ...{ CheckID: PREFIX + ServiceID, Name: "Service Draining", ServiceID },
        ...{ Type: "maintenance", Status: "critical" as const },
        Notes: `Draining: takes no new callers; deregistered when its connections have ended, at ${at} at the latest.`,
      };
      await state.addCheck({ definition, source: "api", drainUntil: until });
    }
    log.info("Draining service", { service: id, timeout: formatDuration(timeoutMs) });
    this.#watch(id, until);
  }

  /** Takes callers again; false where the service does not drain. */
  async cancel(id: string): Promise<boolean> {
    this.#stop(id);
    let isThere = false;
    for (const each of this.#group(id)) isThere = (await this.#options.state.removeCheck(PREFIX + each)) || isThere;
    if (isThere) this.#options.log.info("Service drains no longer", { service: id });
    return isThere;
  }

  close(): void {
    this.#isClosed = true;
    for (const id of this.#drains.keys()) this.#stop(id);
  }

  #isSidecar(id: string): boolean {
    const { definition, sidecarOf } = this.#options.state.service(id) ?? {};
    const parent = sidecarOf ?? definition?.Proxy?.DestinationServiceID ?? "";
    return parent !== "" && this.#options.state.check(PREFIX + parent) !== undefined;
  }

  /** The service and its sidecars. */
  #group(id: string): string[] {
    const sidecars = this.#options.state
      .services()
      .filter((s) => s.sidecarOf === id || s.definition.Proxy?.DestinationServiceID === id);
    return [id, ...sidecars.map((s) => s.definition.ID)];
  }

  // What a sidecar lets in arrives at the service. Its own port counts only where the service has none: proxies keep
  // connections to each other that no caller uses.
  #ports([own, ...sidecars]: string[]): Set<number> {
    const portOf = (id = "") => this.#options.state.service(id)?.definition.Port ?? 0;
    return new Set(portOf(own) > 0 ? [portOf(own)] : sidecars.map(portOf).filter((port) => port > 0));
  }

  #watch(id: string, until: number): void {
    this.#stop(id);
    const drain: Drain = { startedAt: this.#options.clock.now(), until, quiet: 0, timer: undefined };
    this.#drains.set(id, drain);
    const poll = () => {
      drain.timer = this.#options.clock.after(POLL_MS, () => {
        this.#look(id, drain)
          .then((isOver) => isOver || this.#drains.get(id) !== drain || poll())
          .catch((error: unknown) => {
            this.#options.log.error("cannot drain a service", { service: id, error: describeError(error) });
            if (this.#drains.get(id) === drain) poll();
          });
      });
    };
    poll();
  }

  #stop(id: string): void {
    this.#drains.get(id)?.timer?.cancel();
    this.#drains.delete(id);
  }

  /** True when the drain is over. */
  async #look(id: string, drain: Drain): Promise<boolean> {
    const { state, clock, log, count = openConnections } = this.#options;
    const group = this.#group(id);
    const open = await count(this.#ports(group));
    if (this.#isClosed || this.#drains.get(id) !== drain) return true;
    if (!state.check(PREFIX + id)) return this.#drains.delete(id);
    drain.quiet = open === 0 ? drain.quiet + 1 : 0;
    const isQuiet = drain.quiet >= QUIET_POLLS && clock.now() - drain.startedAt >= MIN_DRAIN_MS;
    if (!isQuiet && clock.now() < drain.until) return false;
    log.info("Drained service, deregistering", { service: id, connections: open ?? "unknown" });
    for (const each of group) await state.removeService(each);
    this.#drains.delete(id);
    return true;
  }
}
