/**
 * Follows the service defaults and proxy defaults for the proxies of this node: all that they say with `enable_central_service_config`,
 * and `require_pq` in any case. What was known last is kept: an agent that starts while the servers are away must not ask less of its
 * proxies than before.
 */
import type { ApiClient } from "@heddle/api-client";
import type { ConfigEntry, ConfigKind, ProxyDefaultsEntry, ServiceDefaultsEntry } from "@heddle/config-entries";
import { describeError, type Logger } from "@heddle/daemon";
import { CentralDefaults } from "./central-defaults.ts";
import type { Store } from "@heddle/store";
import type { LocalState } from "./local-state.ts";

const TABLE = "central-config";
const FIRST_ANSWER_MS = 1_000; // proxies wait this long after the very first start for defaults, then go without them

export interface CentralConfigOptions {
  catalog: ApiClient;
  store: Store;
  state: LocalState;
  log: Logger;
  /** `enable_central_service_config`. */
  isEnabled: boolean;
}

export class CentralConfig {
  readonly #options: CentralConfigOptions;
  #proxies: readonly ProxyDefaultsEntry[] | undefined;
  #services: readonly ServiceDefaultsEntry[] | undefined;
  #known: () => void = () => {};
  readonly #first = new Promise<void>((resolve) => {
    this.#known = resolve;
  });

  constructor(options: CentralConfigOptions) {
    this.#options = options;
    this.#proxies = options.store.get<ProxyDefaultsEntry[]>(TABLE, "proxy-defaults")?.value;
    this.#services = options.store.get<ServiceDefaultsEntry[]>(TABLE, "service-defaults")?.value;
    this.#apply();
    setTimeout(() => this.#known(), FIRST_ANSWER_MS).unref();
  }

  /** Resolves when the defaults are known, from now or from before, or when that takes too long. */
  ready(): Promise<void> {
    return this.#first;
  }

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([
      this.#follow("proxy-defaults", signal, (entries) => (this.#proxies = entries as ProxyDefaultsEntry[])),
      this.#follow("service-defaults", signal, (entries) => (this.#services = entries as ServiceDefaultsEntry[])),
    ]);
  }

  async #follow(kind: ConfigKind, signal: AbortSignal, take: (entries: ConfigEntry[]) => void): Promise<void> {
    const { catalog, store, log } = this.#options;
    const onError = ({ error, attempt }: { error: unknown; attempt: number }) => {
      if (attempt === 1) log.warn("cannot follow the central configuration", { kind, error: describeError(error) });
    };
    for await (const { body } of catalog.watch<ConfigEntry[]>(`/v1/config/${kind}`, { signal, onError })) {
      take(body);
      this.#apply();
      // A disk that is full ends nothing: what is followed counts, what is kept is for a start without servers.
      await store
        .run(() => ({ writes: [{ table: TABLE, key: kind, value: body }], result: undefined }))
        .catch((error: unknown) =>
          log.warn("cannot keep the central configuration for the next start", { kind, error: describeError(error) }),
        );
    }
  }

  #apply(): void {
    const { state, isEnabled } = this.#options;
    if (!this.#proxies || !this.#services) return;
    state.setDefaults(new CentralDefaults(this.#proxies, this.#services, isEnabled));
    this.#known();
  }
}
