/**
 * Follows the service defaults and proxy defaults for the proxies of this node: all that they say with `enable_central_service_config`,
 * and `require_pq` in any case.
 */
import type { ApiClient } from "@heddle/api-client";
import type { ConfigEntry, ConfigKind, ProxyDefaultsEntry, ServiceDefaultsEntry } from "@heddle/config-entries";
import { describeError, type Logger } from "@heddle/daemon";
import { CentralDefaults } from "./central-defaults.ts";
import type { LocalState } from "./local-state.ts";

const FIRST_ANSWER_MS = 1_000; // proxies wait this long after the start for the first defaults, then go without them

export interface CentralConfigOptions {
  catalog: ApiClient;
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
    setTimeout(() => this.#known(), FIRST_ANSWER_MS).unref();
  }

  /** Resolves when the defaults have been read once, or when that takes too long. */
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
    const { catalog, state, log, isEnabled } = this.#options;
    const onError = ({ error, attempt }: { error: unknown; attempt: number }) => {
      if (attempt === 1) log.warn("cannot follow the central configuration", { kind, error: describeError(error) });
    };
    for await (const { body } of catalog.watch<ConfigEntry[]>(`/v1/config/${kind}`, { signal, onError })) {
      take(body);
      if (!this.#proxies || !this.#services) continue;
      state.setDefaults(new CentralDefaults(this.#proxies, this.#services, isEnabled));
      this.#known();
    }
  }
}
