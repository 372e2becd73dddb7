/** Follows the service defaults and proxy defaults for the proxies of this node (`enable_central_service_config`). */
import type { ApiClient } from "@heddle/api-client";
import type { ConfigEntry, ConfigKind, ProxyDefaultsEntry, ServiceDefaultsEntry } from "@heddle/config-entries";
import { describeError, type Logger } from "@heddle/daemon";
import { CentralDefaults } from "./central-defaults.ts";
import type { LocalState } from "./local-state.ts";

const FIRST_ANSWER_MS = 1_000; // a registration waits this long for the first defaults, then goes without them

export interface CentralConfigOptions {
  catalog: ApiClient;
  state: LocalState;
  log: Logger;
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
  }

  /** Resolves when the defaults have been read once, or when that takes too long. */
  async ready(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, FIRST_ANSWER_MS);
    });
    await Promise.race([this.#first, late]);
    clearTimeout(timer);
  }

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all([
      this.#follow("proxy-defaults", signal, (entries) => (this.#proxies = entries as ProxyDefaultsEntry[])),
      this.#follow("service-defaults", signal, (entries) => (this.#services = entries as ServiceDefaultsEntry[])),
    ]);
  }

  async #follow(kind: ConfigKind, signal: AbortSignal, take: (entries: ConfigEntry[]) => void): Promise<void> {
    const { catalog, state, log } = this.#options;
    const onError = ({ error, attempt }: { error: unknown; attempt: number }) => {
      if (attempt === 1) log.warn("cannot follow the central configuration", { kind, error: describeError(error) });
    };
    for await (const { body } of catalog.watch<ConfigEntry[]>(`/v1/config/${kind}`, { signal, onError })) {
      take(body);
      if (!this.#proxies || !this.#services) continue;
      state.setDefaults(new CentralDefaults(this.#proxies, this.#services));
      this.#known();
    }
  }
}
