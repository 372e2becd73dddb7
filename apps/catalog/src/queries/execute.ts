/** The instances that a query answers with: who is fit, who is meant, in which order. */
import type { StoredRecord } from "@heddle/store";
import { nearest } from "../coordinates.ts";
import type { QueryRecord } from "../records.ts";
import type { CatalogState } from "../state.ts";
import { type Instance, showInstance } from "../views.ts";

export interface QueryRow extends Omit<Instance, "Checks" | "Service"> {
  Service: Omit<Instance["Service"], "Tags"> & { Tags: string[] | null };
  Checks: (Omit<Instance["Checks"][number], "ServiceTags"> & { ServiceTags: string[] | null })[] | null;
}

/** An instance that the query leaves out, and why. */
export interface LeftOut {
  Node: string;
  ServiceID: string;
  Reason: string;
}

export interface ExecuteOptions {
  /** Whether instances that speak Connect for the service are wanted, whatever the query says. */
  connect: boolean;
  /** From which node's view the nearest come first: a name or ""; `_agent` and `_ip` are told apart before. */
  near: string;
  random: () => number;
}

/** What is touched when the answer of `execute` changes. */
export function executionTopic({ Service }: QueryRecord, connect: boolean): string {
  return `${connect || Service.Connect ? "health-connect" : "health"}/${Service.Service.toLowerCase()}`;
}

/** Runs a query whose template, if it is one, has been filled in. */
export function execute(
  state: CatalogState,
  { Service }: QueryRecord,
  { connect, near, random }: ExecuteOptions,
): { rows: QueryRow[]; leftOut: LeftOut[] } {
  const found = connect || Service.Connect ? state.connectInstances(Service.Service) : state.instances(Service.Service);
  const rows: QueryRow[] = [];
  const leftOut: LeftOut[] = [];
  for (const record of found) {
    const row = showInstance(state, record);
    const reason = whyNot(Service, row);
    if (reason === undefined) rows.push(toRow(row));
    else leftOut.push({ Node: record.value.Node, ServiceID: record.value.Service.ID, Reason: reason });
  }
  return { rows: arrange(state, shuffle(rows, random), near), leftOut };
}

// Here, and nowhere else, Consul shows empty lists as they are kept.
function toRow(row: Instance): QueryRow {
  const { Service, Checks } = row;
  return {
    ...row,
    Service: { ...Service, Tags: orNull(Service.Tags) },
    Checks: orNull(Checks.map((check) => ({ ...check, ServiceTags: orNull(check.ServiceTags) }))),
  };
}

const orNull = <T>(list: T[] | null | undefined): T[] | null => (list?.length ? list : null);

function whyNot(wanted: QueryRecord["Service"], { Node, Service, Checks }: Instance): string | undefined {
  const ignored = new Set(wanted.IgnoreCheckIDs ?? []);
  const sick = Checks.find(
    ({ CheckID, Status }) =>
      !ignored.has(CheckID) && (Status === "critical" || (wanted.OnlyPassing && Status !== "passing")),
  );
  if (sick) return `check '${sick.CheckID}' is ${sick.Status}`;
  for (const [what, meta, demands] of [
    ["node meta", Node?.Meta, wanted.NodeMeta],
    ["service meta", Service.Meta, wanted.ServiceMeta],
  ] as const) {
    for (const [key, value] of Object.entries(demands ?? {})) {
      const has = meta && Object.hasOwn(meta, key) ? meta[key] : undefined;
      if (has !== value)
        return `${what} '${key}' is ${has === undefined ? "not set" : `'${has}'`}: the query wants '${value}'`;
    }
  }
  const tags = new Set(Service.Tags?.map((tag) => tag.toLowerCase()));
  for (const tag of wanted.Tags ?? []) {
    const isUnwanted = tag.startsWith("!");
    const name = (isUnwanted ? tag.slice(1) : tag).toLowerCase();
    if (tags.has(name) === isUnwanted) return isUnwanted ? `it has the tag '${name}'` : `it lacks the tag '${name}'`;
  }
  return undefined;
}

const FRONT = 10; // how far down Consul looks for the node itself once it has sorted

function arrange(state: CatalogState, rows: QueryRow[], near: string): QueryRow[] {
  if (near === "") return rows;
  const sorted = nearest<QueryRow>(state, near, (row) => row.Node?.Node ?? "")(rows);
  // Instances of the node itself come first, also where nobody knows how far the others are.
  const own = sorted.slice(0, FRONT).findIndex((row) => row.Node?.Node === near);
  if (own > 0) sorted.unshift(...sorted.splice(own, 1));
  return sorted;
}

function shuffle<T>(rows: T[], random: () => number): T[] {
  for (let i = rows.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [rows[i], rows[j]] = [rows[j] as T, rows[i] as T];
  }
  return rows;
}

/** The node with an address, for `_ip`; "" where there is none. */
export function nodeAt(state: CatalogState, address: string): string {
  if (address === "") return "";
  const plain = address.replace(/^::ffff:(?=\d+\.)/i, "");
  return (
    state.nodes().find(({ value }: StoredRecord<{ Address: string }>) => value.Address === plain)?.value.Node ?? ""
  );
}
