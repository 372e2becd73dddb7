/** The whole of a running proxy in one answer: what `heddle proxy status` shows, and what a process that takes over looks for. */
import type { Health } from "@heddle/daemon";
import { type AgentLink, formatAddress, type SharedCounts } from "@heddle/data-plane";
import type { ProxySource } from "../config.ts";
import type { Proxies } from "../proxies.ts";
import { openAt } from "../threads/columns.ts";
import type { CarriedView } from "./views.ts";

export interface StatusView {
  Pid: number;
  StartedAt: string;
  Mode: ProxySource["mode"];
  /** The same for two processes that stand for the same proxies of the same agent. */
  Owner: string;
  Agent: { Address: string; IsUp: boolean; AwaySeconds: number };
  Ready: boolean;
  Problems: string;
  Proxies: {
    /** Empty where flags configure it. */
    ID: string;
    Service: string;
    CertificateUntil: string;
    /** Open: connections that came in there, in all threads. */
    Listeners: { Name: string; Address: string; Error: string; Open: number }[];
  }[];
  /** The share of its time that each thread works. */
  Threads: number[];
  Carried: CarriedView[];
}

export interface StatusOf {
  source: ProxySource;
  owner: string;
  startedAt: Date;
  client: { address: string };
  link: AgentLink;
  proxies: Proxies;
  counts: Pick<SharedCounts, "of">;
  health: Record<string, Health>;
}

/** What does not depend on threads. */
export function statusOf({ source, owner, startedAt, client, link, proxies, counts, health }: StatusOf) {
  const problems = Object.values(health).filter(({ ready }) => !ready);
  return {
    Pid: process.pid,
    StartedAt: startedAt.toISOString(),
    Mode: source.mode,
    Owner: owner,
    Agent: { Address: client.address, IsUp: link.isUp, AwaySeconds: Math.round(link.awayMs / 1000) },
    Ready: problems.length === 0,
    Problems: problems.map(({ details }) => details).join("; "),
    Proxies: [...proxies.all.values()].map(({ id, store, listeners }) => ({
      ID: id,
      Service: store.current.spec?.service ?? "",
      CertificateUntil: store.current.leaf ? new Date(store.current.leaf.notAfter).toISOString() : "",
      Listeners: listeners.states().map(({ name, address, error }) => ({
        Name: name,
        Address: address ? formatAddress(address) : "",
        Error: error ?? "",
        Open: openAt(counts, id, name),
      })),
    })),
  };
}
