/** What is done to the finished graph: loops are refused, splitters below splitters are merged into them, what nothing leads to goes. */
import type { ServiceSplit } from "@heddle/config-entries";
import { type ChainNode, type ChainSplit, type SplitterNode } from "./chain.ts";
import { refuse } from "./errors.ts";
import { mergeHeaders } from "./headers.ts";

export type Nodes = Map<string, ChainNode>;

// Splitters below splitters multiply: twenty small ones could make a million splits.
const MAX_SPLITS = 8_192;

function nextNodes(node: ChainNode): string[] {
  if (node.Type === "router") return node.Routes.map((route) => route.NextNode);
  return node.Type === "splitter" ? node.Splits.map((split) => split.NextNode) : [];
}

/** Refuses a graph in which a node leads back to itself; names the way there. */
export function refuseLoops(nodes: Nodes, start: string): void {
  const done = new Set<string>();
  const way = new Set<string>();
  const visit = (key: string): void => {
    if (done.has(key)) return;
    if (way.has(key)) refuse(`detected circular reference: [${[...way, key].join(" -> ")}]`);
    way.add(key);
    // From the last to the first, so that of several loops the one is named that Consul names.
    for (const next of nextNodes(nodes.get(key) as ChainNode).reverse()) visit(next);
    way.delete(key);
    done.add(key);
  };
  visit(start);
}

/** Replaces each split that leads to a splitter by that one's own splits. The graph must have no loops. */
export function flattenSplitters(nodes: Nodes, service: string): void {
  const flat = new Set<string>();
  let total = 0;
  const flatten = (key: string): SplitterNode | undefined => {
    const node = nodes.get(key);
    if (node?.Type !== "splitter") return undefined;
    if (flat.has(key)) return node;
    flat.add(key);
    node.Splits = node.Splits.flatMap((split) => {
      const inner = flatten(split.NextNode);
      total += inner?.Splits.length ?? 1;
      if (total > MAX_SPLITS)
        refuse(`discovery chain ${JSON.stringify(service)} has more than ${MAX_SPLITS} splits once they are merged`);
      return inner ? inner.Splits.map((below) => mergeSplits(split, below)) : [split];
    });
    return node;
  };
  for (const key of nodes.keys()) flatten(key);
}

function mergeSplits(split: ChainSplit, below: ChainSplit): ChainSplit {
  const Definition = mergeDefinitions(split.Definition, below.Definition);
  return { ...(Definition && { Definition }), Weight: shareOf(split.Weight, below.Weight), NextNode: below.NextNode };
}

function mergeDefinitions(above?: ServiceSplit, below?: ServiceSplit): ServiceSplit | undefined {
  if (!above || !below) return below ?? above;
  const RequestHeaders = mergeHeaders(above.RequestHeaders, below.RequestHeaders);
  const ResponseHeaders = mergeHeaders(above.ResponseHeaders, below.ResponseHeaders);
  return { ...below, ...(RequestHeaders && { RequestHeaders }), ...(ResponseHeaders && { ResponseHeaders }) };
}

/** Percent of percent with two decimals, in 32-bit floats as Consul counts. */
function shareOf(weight: number, below: number): number {
  const share = Math.fround(Math.fround(Math.fround(weight) * Math.fround(below)) / 100);
  return Math.round(Math.fround(share * 100)) / 100;
}

/** Removes what the start does not lead to. */
export function removeUnused(nodes: Nodes, start: string): void {
  const used = new Set([start]);
  for (const key of used) for (const next of nextNodes(nodes.get(key) as ChainNode)) used.add(next);
  for (const key of nodes.keys()) if (!used.has(key)) nodes.delete(key);
}
