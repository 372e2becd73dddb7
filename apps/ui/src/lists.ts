/** The lists of the page: which read each one follows, and how its answer becomes rows. */

import type { Intention } from "@heddle/intentions";

/** What stands in a cell: text, with a class of ours or a link to another list. */
export interface Cell {
  text: string;
  className?: string;
  href?: string;
}

export interface List {
  title: string;
  /** A blocking read of the agent's API. */
  path: string;
  heads: string[];
  rows: (body: unknown) => Cell[][];
  /** The answer is the rules, so decisions can be explained by it. */
  areIntentions?: true;
}

interface Check {
  Name: string;
  Status: string;
  Output: string;
}
interface Summary {
  Name: string;
  InstanceCount: number;
  ChecksPassing: number;
  ChecksWarning: number;
  ChecksCritical: number;
}
interface Instance {
  Node: { Node: string; Address: string };
  Service: { ID: string; Address: string; Port: number; Tags: string[] | null };
  Checks: Check[];
}
interface Node {
  Node: string;
  Address: string;
  Checks: Check[] | null;
  Services: { Service: string }[] | null;
}

const KNOWN = new Set(["passing", "warning", "critical", "allow", "deny"]);

const text = (value: unknown): Cell => ({ text: String(value) });
/** A word that colours itself: only the words that we know become a class. */
const word = (value: string, shown = value): Cell => ({ text: shown, ...(KNOWN.has(value) && { className: value }) });
const list = <T>(body: unknown): T[] => (Array.isArray(body) ? (body as T[]) : []);

function worst(checks: readonly Check[]): string {
  for (const status of ["critical", "warning"]) if (checks.some((c) => c.Status === status)) return status;
  return "passing";
}

const describe = (checks: readonly Check[]): Cell =>
  word(worst(checks), checks.map((c) => `${c.Status}: ${c.Name}${c.Output ? ` — ${c.Output}` : ""}`).join("\n"));

const LISTS: Record<string, (name: string) => List> = {
  services: () => ({
    title: "Services",
    path: "/v1/internal/ui/services",
    heads: ["Service", "Instances", "Passing", "Warning", "Critical"],
    rows: (body) =>
      list<Summary>(body).map((s) => [
        { text: s.Name, href: `#service/${encodeURIComponent(s.Name)}` },
        text(s.InstanceCount),
        word("passing", String(s.ChecksPassing)),
        word(s.ChecksWarning > 0 ? "warning" : "", String(s.ChecksWarning)),
        word(s.ChecksCritical > 0 ? "critical" : "", String(s.ChecksCritical)),
      ]),
  }),
  service: (name) => ({
    title: `Service ${name}`,
    path: `/v1/health/service/${encodeURIComponent(name)}`,
    heads: ["Instance", "Node", "Address", "Tags", "Checks"],
    rows: (body) =>
      list<Instance>(body).map(({ Node, Service, Checks }) => [
        text(Service.ID),
        text(Node.Node),
        text(`${Service.Address || Node.Address}:${Service.Port}`),
        text((Service.Tags ?? []).join(", ")),
        describe(Checks),
      ]),
  }),
  nodes: () => ({
    title: "Nodes",
    path: "/v1/internal/ui/nodes",
    heads: ["Node", "Address", "Services", "Checks"],
    rows: (body) =>
      list<Node>(body).map((n) => [
        text(n.Node),
        text(n.Address),
        text([...new Set((n.Services ?? []).map((s) => s.Service))].sort().join(", ")),
        describe(n.Checks ?? []),
      ]),
  }),
  intentions: () => ({
    title: "Intentions",
    path: "/v1/connect/intentions",
    areIntentions: true,
    heads: ["Source", "Destination", "Action", "Description"],
    rows: (body) =>
      list<Intention>(body).map((i) => [
        text(i.SourceName),
        text(i.DestinationName),
        i.Action === "" ? text("by request") : i.JWT && i.Action === "allow" ? text("with a token") : word(i.Action),
        text(i.Description),
      ]),
  }),
  kv: () => ({
    title: "Keys",
    path: "/v1/kv/?keys",
    heads: ["Key"],
    rows: (body) => list<string>(body).map((key) => [{ text: key, href: `#key/${encodeURIComponent(key)}` }]),
  }),
  key: (name) => ({
    title: `Key ${name}`,
    path: `/v1/kv/${name.split("/").map(encodeURIComponent).join("/")}`,
    heads: ["Value", "Flags", "Session"],
    rows: (body) =>
      list<{ Value: string | null; Flags: number; Session?: string }>(body).map((k) => [
        text(decode(k.Value ?? "")),
        text(k.Flags),
        text(k.Session ?? ""),
      ]),
  }),
};

/** The list that a hash such as "#service/web" asks for; the services for one that asks for none. */
export function listOf(hash: string): List {
  const [kind = "", rest = ""] = hash.replace(/^#/, "").split("/", 2);
  const make = Object.hasOwn(LISTS, kind) ? LISTS[kind] : LISTS["services"];
  return (make as (name: string) => List)(unescape(rest));
}

function unescape(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

const decode = (base64: string): string =>
  new TextDecoder().decode(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)));
