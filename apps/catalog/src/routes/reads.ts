/** What the reads of the catalog share: the parameters that narrow a list, and the key of a question. */
import { refusal } from "@heddle/daemon";
import { compileFilter, type Fields, type Filter } from "@heddle/filter";
import { nearest } from "../coordinates.ts";
import type { CatalogDeps } from "../deps.ts";
import { COORDINATES, type NodeRecord } from "../records.ts";

// Parameters that do not change what is answered, only when and how it is sent.
const NOT_IN_KEY = new Set([
  "index",
  "wait",
  "stale",
  "consistent",
  "cached",
  "pretty",
  "token",
  "max_stale",
  "dc",
  "ns",
]);

/** A key that is equal for equal questions, whatever else stands in the query. */
export function questionKey(path: string, query: URLSearchParams): string {
  if (query.size === 0) return path;
  const parts = [...query].filter(([k]) => !NOT_IN_KEY.has(k)).map(([k, v]) => `${escaped(k)}=${escaped(v)}`);
  return parts.length === 0 ? path : `${path}?${parts.sort().join("&")}`;
}

// Two questions must not have one key: neither a value nor a name may look like a parameter more.
const escaped = (text: string): string => (/[%&=]/.test(text) ? encodeURIComponent(text) : text);

/** True for the nodes that have every `node-meta=key:value` asked for. */
export function nodeMetaFilter(query: URLSearchParams): (node: NodeRecord) => boolean {
  const wanted = query.getAll("node-meta").map((text) => {
    const at = text.indexOf(":");
    return at < 0 ? ([text, ""] as const) : ([text.slice(0, at), text.slice(at + 1)] as const);
  });
  if (wanted.length === 0) return () => true;
  return (node) => wanted.every(([key, value]) => node.Meta?.[key] === value);
}

/** True for the tag lists that have every `tag` asked for, whatever its case. */
export function tagFilter(query: URLSearchParams): (tags: readonly string[]) => boolean {
  const wanted = query.getAll("tag").map((t) => t.toLowerCase());
  if (wanted.length === 0) return () => true;
  return (tags) => wanted.every((tag) => tags.some((t) => t.toLowerCase() === tag));
}

/** True for the rows that `filter` describes; made once a question. Throws FilterError. */
export function rowFilter(query: URLSearchParams, fields: Fields): Filter {
  return compileFilter(query.get("filter") ?? "", fields);
}

/** How rows are to be sorted, and what else their answer then depends on. `_agent` is the node that answers. */
export function nearOrder<T>(
  { state, nodeName }: Pick<CatalogDeps, "nodeName" | "state">,
  query: URLSearchParams,
  nodeOf: (row: T) => string,
): { sort: (rows: T[]) => T[]; topics: string[] } {
  const near = query.get("near") ?? "";
  if (near === "") return { sort: (rows) => rows, topics: [] };
  return { sort: nearest(state, near === "_agent" ? nodeName : near, nodeOf), topics: [COORDINATES] };
}

/** The one argument of a path; refused where it is missing. */
export function argument(rest: string, what: string): string {
  if (rest === "") throw refusal(400, `Missing ${what}`);
  return rest;
}
