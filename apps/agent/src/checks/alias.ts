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

const isAlias = (definition: CheckDefinition): boolean => Boolean(definition.AliasService || definition.AliasNode);

type ByService = ReadonlyMap<string, readonly CheckDefinition[]>;

export class AliasChecks {
  readonly #options: AliasChecksOptions;
  /** By what each follows, so that a check that is defined anew follows anew. */
  readonly #remote = new Map<string, AbortController>();
  readonly #off: () => void;
  #next: NodeJS.Immediate | undefined;

  constructor(options: AliasChecksOptions) {
    this.#options = options;
    this.#off = options.state.onChange(() => this.#judgeSoon());
    this.#judgeAll();
  }

  close(): void {
    this.#off();
    clearImmediate(this.#next);
    for (const watch of this.#remote.values()) watch.abort();
  }

  // Once for all changes of a turn: a check of the node changes each alias, and each of those is a change. It ends, for no alias counts
  // itself by others.
  #judgeSoon(): void {
    this.#next ??= setImmediate(() => {
      this.#next = undefined;
      this.#judgeAll();
    });
  }

  #judgeAll(): void {
    const definitions = this.#options.state.checks().map(({ definition }) => definition);
    const byService: ByService = Map.groupBy(definitions, ({ ServiceID }) => ServiceID);
    const remote = new Set<string>();
    for (const definition of definitions) {
      if (!isAlias(definition)) continue;
      if (this.#isRemote(definition)) {
        const key = [definition.CheckID, definition.AliasNode, definition.AliasService].join("\0");
        remote.add(key);
        if (!this.#remote.has(key)) this.#watchNode(key, definition);
      } else this.#judgeLocal(definition, byService);
    }
    for (const [key, watch] of this.#remote) {
      if (remote.has(key)) continue;
      watch.abort();
      this.#remote.delete(key);
    }
  }

  #isRemote({ AliasNode }: CheckDefinition): boolean {
    return Boolean(AliasNode) && AliasNode !== this.#options.nodeName;
  }

  #judgeLocal(definition: CheckDefinition, byService: ByService): void {
    const { state, nodeName } = this.#options;
    const { CheckID, AliasService = "" } = definition;
    if (AliasService !== "" && !state.service(AliasService)) {
      state.setCheckState(CheckID, "critical", `Service ${AliasService} could not be found on node ${nodeName}`);
      return;
    }
    const counted = this.#grounds(definition, byService).filter(
      (ground) => ground.CheckID !== CheckID && !this.#leadsTo(ground, CheckID, byService),
    );
    const { status, output } = judgeAlias(counted.flatMap((ground) => state.healthCheck(ground.CheckID) ?? []));
    state.setCheckState(CheckID, status, output);
  }

  /** The checks that an alias of this node stands for: the node's own, and those of its service. */
  #grounds({ AliasService = "" }: CheckDefinition, byService: ByService): CheckDefinition[] {
    const ofService = AliasService === "" ? [] : (byService.get(AliasService) ?? []);
    return [...(byService.get("") ?? []), ...ofService];
  }

  // Two aliases that stand for each other would each be as sick as it once was, and their output would grow without end.
  #leadsTo(from: CheckDefinition, target: string, byService: ByService, seen = new Set<string>()): boolean {
    if (!isAlias(from) || this.#isRemote(from) || seen.has(from.CheckID)) return false;
    seen.add(from.CheckID);
    return this.#grounds(from, byService).some(
      (ground) => ground.CheckID === target || this.#leadsTo(ground, target, byService, seen),
    );
  }

  #watchNode(key: string, definition: CheckDefinition): void {
    const { catalog, state, log } = this.#options;
    const watch = new AbortController();
    this.#remote.set(key, watch);
    const follow = async () => {
      const path = `/v1/health/node/${encodeURIComponent(definition.AliasNode ?? "")}`;
      for await (const { body } of catalog.watch<HealthCheck[]>(path, { signal: watch.signal })) {
        // An alias of that node may stand for this one: the two would keep each other critical for good.
        const counted = body.filter(
          (c) =>
            (c.ServiceID === "" && c.Type !== "alias") ||
            (c.ServiceID !== "" && c.ServiceID === definition.AliasService),
        );
        const { status, output } = judgeAlias(counted);
        state.setCheckState(definition.CheckID, status, output);
      }
    };
    follow().catch((error: unknown) =>
      log.error("cannot follow an aliased node", { check: definition.CheckID, error: describeError(error) }),
    );
  }
}
