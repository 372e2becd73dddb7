/** What the agent's routes are handed. */
import type { ApiClient } from "@heddle/api-client";
import type { LogHub, Logger } from "@heddle/daemon";
import type { CatalogSync } from "./catalog-sync.ts";
import type { CentralConfig } from "./central-config.ts";
import type { TtlChecks } from "./checks/ttl.ts";
import type { AgentConfig } from "./config/index.ts";
import type { Decisions } from "./decisions.ts";
import type { Drains } from "./drains.ts";
import type { Followed } from "./followed.ts";
import type { Leaves } from "./leaves.ts";
import type { LocalState } from "./local-state.ts";
import type { RuleHolders } from "./rule-holders.ts";
import type { Registrar } from "./registrar.ts";
import type { Telemetry } from "./telemetry.ts";

export interface AgentDeps {
  config: AgentConfig;
  /** The configuration after the last reload. */
  settings: () => AgentConfig;
  version: string;
  state: LocalState;
  registrar: Registrar;
  sync: CatalogSync;
  /** Where proxies get central defaults. */
  central: CentralConfig;
  telemetry: Telemetry;
  ttl: TtlChecks;
  decisions: Decisions;
  ruleHolders: RuleHolders;
  drains: Drains;
  followed: Followed;
  leaves: Leaves;
  catalog: ApiClient;
  /** Reads the configuration again and applies what can change while running. Throws what is wrong with it. */
  reload: () => Promise<void>;
  /** Leaves the mesh: deregisters this node and ends the process. */
  leave: () => Promise<void>;
  hub: LogHub;
  log: Logger;
}
