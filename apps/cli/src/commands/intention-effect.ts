/** `-wait-cut`: what a write came to, once the proxies have taken it over. */
import type { Terminal } from "../terminal.ts";
import { columns } from "../output.ts";
import { flag } from "../flags.ts";
import { count, place, sayUnreported, type Unreported } from "./intention-plan.ts";

const NOT_REACHED = 2; // written, and not everybody has said that it holds it
const BEYOND_WAIT_MS = 5_000;

export interface Effect {
  /** Where the answer is no object without waiting. */
  Written?: boolean;
  Version: number;
  Reached: number;
  Holders: number;
  Cut: number;
  Cuts: { Node: string; Proxy: string; Service: string; Source: string; Count: number }[];
  Missing: { Node: string; Proxy: string; Service: string; Version: number; LastSeen: string }[];
  Unreported: Unreported[];
}

export const waitFlags = () => ({
  waitCut: flag.boolean(
    "Wait until all proxies hold the change, and tell what they cut; exit status 2 where one does not.",
  ),
  timeout: flag.duration("With -wait-cut: how long to wait, at most 60s.", 10_000),
});

/** For a request that writes. */
export function waitOptions({ waitCut, timeout }: { waitCut: boolean; timeout: number }) {
  if (!waitCut) return {};
  return { query: { "wait-cut": `${timeout}ms` }, timeoutMs: timeout + BEYOND_WAIT_MS };
}

/** Tells it; returns the exit status. */
export function showEffect(terminal: Terminal, { Reached, Holders, Cut, Cuts, Missing, Unreported }: Effect): number {
  terminal.out(`Held by ${Reached} of ${count(Holders, "proxy", "proxies")}; ${count(Cut, "connection")} cut.\n`);
  if (Cuts.length > 0) {
    const rows = Cuts.map((cut) => [
      `${cut.Source} -> ${cut.Service}`,
      String(cut.Count),
      place(cut.Node, cut.Proxy || cut.Service),
    ]);
    terminal.out(columns([["Pair", "Cut", "Where"], ...rows]));
  }
  for (const { Node, Proxy, Service, Version, LastSeen } of Missing)
    terminal.err(
      `${place(Node, Proxy || Service)} has not said that it holds the change: it held version ${Version} at ${LastSeen}.\n`,
    );
  sayUnreported(terminal, Unreported);
  return Missing.length > 0 ? NOT_REACHED : 0;
}
