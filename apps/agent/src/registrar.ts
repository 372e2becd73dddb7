/** Takes registrations, from the API and from files: expands sidecars, gives them ports, and stores the lot in one step. */
import { refusal } from "@heddle/daemon";
import {
  type CheckDefinition,
  checkType,
  expandSidecar,
  type ServiceDefinition,
  sidecarId,
} from "@heddle/service-definition";
import type { LocalService, LocalState, Source } from "./local-state.ts";
import type { SidecarPorts } from "./sidecar-ports.ts";

export interface RegistrarOptions {
  state: LocalState;
  ports: SidecarPorts;
  scripts: { remote: boolean; local: boolean };
}

export class Registrar {
  readonly #options: RegistrarOptions;

  constructor(options: RegistrarOptions) {
    this.#options = options;
  }

  /** Registers a service with its checks and sidecar. Throws refusals with Consul's words. */
  async service(definition: ServiceDefinition, source: Source, { replaceChecks = false } = {}): Promise<void> {
    this.#refuseScripts(definition.Checks, source);
    await this.#options.state.addServices(await this.#withSidecar(definition, source), { replaceChecks });
  }

  /** Registers a check of the node or of a registered service. */
  async check(definition: CheckDefinition, source: Source): Promise<void> {
    this.#refuseScripts([definition], source);
    await this.#options.state.addCheck({ definition, source });
  }

  /**
   * Makes what files define the truth: what is new or changed is stored, what files no longer hold goes, what the API
   * registered stays.
   */
  async files(services: ServiceDefinition[], checks: CheckDefinition[]): Promise<void> {
    const { state } = this.#options;
    const expanded: LocalService[] = [];
    for (const definition of services) {
      this.#refuseScripts(definition.Checks, "file");
      expanded.push(...(await this.#withSidecar(definition, "file")));
    }
    this.#refuseScripts(checks, "file");
    const ids = new Set(expanded.map((s) => s.definition.ID));
    const checkIds = new Set([...checks, ...expanded.flatMap((s) => s.definition.Checks)].map((c) => c.CheckID));
    for (const { definition, source } of state.services())
      if (source === "file" && !ids.has(definition.ID)) await state.removeService(definition.ID);
    for (const { definition, source } of state.checks())
      if (source === "file" && !checkIds.has(definition.CheckID)) await state.removeCheck(definition.CheckID);
    if (expanded.length > 0) await state.addServices(expanded);
    for (const definition of checks) await state.addCheck({ definition, source: "file" });
  }

  async #withSidecar(definition: ServiceDefinition, source: Source): Promise<LocalService[]> {
    const { ports } = this.#options;
    // Expanding once without a port tells whether there is a sidecar, and whether it chose a port itself.
    let needsPort = false;
    const draft = expandSidecar(definition, () => {
      needsPort = true;
      return 0;
    });
    const { SidecarService: _, ...connect } = definition.Connect ?? {};
    const own: LocalService = {
      definition: { ...definition, ...(definition.Connect && { Connect: connect }) },
      source,
    };
    if (!draft) return [own];
    const port = needsPort ? await ports.reserve(sidecarId(definition.ID)) : draft.Port;
    if (!needsPort) ports.refuseTaken(draft.ID, port);
    const sidecar = needsPort ? (expandSidecar(definition, () => port) as ServiceDefinition) : draft;
    this.#refuseScripts(sidecar.Checks, source);
    return [own, { definition: sidecar, source, sidecarOf: definition.ID }];
  }

  #refuseScripts(checks: CheckDefinition[], source: Source): void {
    const { scripts } = this.#options;
    // Whoever may register a script through the API may have it run as the checker says, not as whom they like.
    if (source === "api" && checks.some((c) => c.ScriptUser))
      throw refusal(403, "ScriptUser is taken from configuration files alone");
    if (!checks.some((c) => checkType(c) === "script" || (c.Args?.length ?? 0) > 0)) return;
    if (source === "api" && !scripts.remote) {
      throw refusal(
        500,
        "Scripts are disabled on this agent from remote calls; to enable, configure 'enable_script_checks' to true",
      );
    }
    if (source === "file" && !scripts.local && !scripts.remote) {
      throw refusal(
        500,
        "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or 'enable_local_script_checks' to true",
      );
    }
  }
}
