/** What the catalog's routes are handed. */
import type { Logger } from "@heddle/daemon";
import type { Cluster } from "@heddle/store";
import type { Members } from "./members/members.ts";
import type { CriticalReaper } from "./reaper.ts";
import type { StatusTimes } from "./status-times.ts";
import type { RuleHolders } from "./rule-holders.ts";
import type { QueryIndex } from "./queries/index.ts";
import type { LockDelays, SessionTimers } from "./session-timers.ts";
import type { CatalogState } from "./state.ts";

export interface CatalogDeps {
  state: CatalogState;
  datacenter: string;
  /** The zone that DNS answers, for the names that gateways are reached by. */
  dnsDomain: string;
  /** The node that sessions belong to where the request names none. */
  nodeName: string;
  /** The servers that share the store, and who of them leads. */
  cluster: Cluster;
  /** Of the cluster; undefined while the CA has not said it. */
  trustDomain: () => string | undefined;
  /** What holds where no intention matches. */
  defaultIntentionPolicy: "allow" | "deny";
  limits: { kvMaxValueSize: number; txnMaxReqLen: number };
  sessionTtlMinMs: number;
  sessionTimers: SessionTimers;
  lockDelays: LockDelays;
  queries: QueryIndex;
  members: Members;
  reaper: CriticalReaper;
  statusTimes: StatusTimes;
  /** Who holds which version of the rules. */
  ruleHolders: RuleHolders;
  /** Tells the other catalogs, on a path of their internal API. */
  tellOthers: (path: string, body: unknown) => void;
  log: Logger;
}
