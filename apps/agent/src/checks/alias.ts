/** Alias checks: as well as what they stand for. A service of this node is judged from local state, another node's from the catalog. */
import type { ApiClient } from "@heddle/api-client";
import { describeError, type Logger } from "@heddle/daemon";
import type { CheckDefinition, CheckStatus, HealthCheck } from "@heddle/service-definition";
import type { LocalState } from "../local-state.ts";

export interface AliasChecksOptions {
  state: LocalState;
  catalog: ApiClient;
  nodeName: string;
  log: Logger;
}

/** The verdict on a list of checks, in Consul's words. */
export function judgeAlias(checks: Pick<HealthCheck, "Name" | "Output" | "Status">[]): {
  status: CheckStatus;
  output: string;
} {
  const worst = checks.find((c) => c.Status === "critical") ?? checks.find((c) => c.Status === "warning");
  if (worst)
    return { status: worst.Status, output: `Aliased check ${JSON.stringify(worst.Name)} failing: ${worst.Output}` };
  return { status: "passing", output: "All checks passing." };
}

export class AliasChecks {
  readonly #options: AliasChecksOptions;
  readonly #remote = new Map<string, AbortController>();
  readonly #off: () => void;

  constructor(options: AliasChecksOptions) {
    this.#options = options;
    this.#off = options.state.onChange(() => this.#judgeAll());
    this.#judgeAll();
  }

  close(): void {
    this.#off();
    for (const watch of this.#remote.values()) watch.abort();
  }

  #judgeAll(): void {
    const { state, nodeName } = this.#options;
    const aliases = state.checks().filter(({ definition: d }) => d.AliasService || d.AliasNode);
    const remote = new Set<string>();
    for (const { definition } of aliases) {
      if (definition.AliasNode && definition.AliasNode !== nodeName) {
        remote.add(definition.CheckID);
        this.#watchNode(definition);
      } else this.#judgeLocal(definition);
    }
    for (const [id, watch] of this.#remote) {
      if (remote.has(id)) continue;
      watch.abort();
      this.#remote.delete(id);
    }
  }

  #judgeLocal({ CheckID, AliasService = "" }: CheckDefinition): void {
    const { state } = this.#options;
    if (AliasService !== "" && !state.service(AliasService)) {
      state.setCheckState(
        CheckID,
        "critical",
        `Service ${AliasService} could not be found on node ${this.#options.nodeName}`,
      );
      return;
    }
    const counted = state
      .checks()
      .filter(({ definition: d }) => d.CheckID !== CheckID && (d.ServiceID === "" || d.ServiceID === AliasService));
    const { status, output } = judgeAlias(counted.flatMap((c) => state.healthCheck(c.definition.CheckID) ?? []));
    state.setCheckState(CheckID, status, output);
  }

  #watchNode(definition: CheckDefinition): void {
    const { catalog, state, log } = this.#options;
    if (this.#remote.has(definition.CheckID)) return;
    const watch = new AbortController();
    this.#remote.set(definition.CheckID, watch);
    const follow = async () => {
      const path = `/v1/health/node/${encodeURIComponent(definition.AliasNode ?? "")}`;
      for await (const { body } of catalog.watch<HealthCheck[]>(path, { signal: watch.signal })) {
        const counted = body.filter((c) => c.ServiceID === "" || c.ServiceID === definition.AliasService);
        const { status, output } = judgeAlias(counted);
        state.setCheckState(definition.CheckID, status, output);
      }
    };
    follow().catch((error: unknown) =>
      log.error("cannot follow an aliased node", { check: definition.CheckID, error: describeError(error) }),
    );
  }
}
