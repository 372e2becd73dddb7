/** Not Consul's: what agents pass on of their proxies' rules, and writes that wait until all of them hold a new version. */
import {
  type ApiRequest,
  type ApiTable,
  decodeBody,
  describeError,
  parseDuration,
  readBody,
  refusal,
  reply,
  type Spec,
  whenDraining,
} from "@heddle/daemon";
import { readRuleReport, RULE_REPORT_FIELDS, type RuleReport } from "@heddle/intentions";
import type { CatalogDeps } from "../deps.ts";
import { requireOwnNode } from "../own-node.ts";
import { INTENTIONS } from "../records.ts";
import type { Cut, Holder } from "../rule-holders.ts";

/** Where catalogs tell each other what agents have told them. */
const PEER_PATH = "/v1/internal/catalogs/rule-holders";
const MAX_BODY = 4 * 1024 * 1024;
const MAX_REPORTS = 64;
const DEFAULT_WAIT_MS = 10_000;
const MAX_WAIT_MS = 60_000;
const MAX_NAMED = 1_000; // entries of one list in an answer

export const HOLDER_FIELDS: Record<string, Spec> = {
  Node: "string",
  Reports: { list: { object: RULE_REPORT_FIELDS } },
};

export function ruleHolderTable({ ruleHolders, state, tellOthers, log }: CatalogDeps): ApiTable {
  return {
    "/v1/internal/rule-holders": {
      PUT: async (request) => {
        const { node, reports } = decodeReports(await readBody(request.req, MAX_BODY));
        requireOwnNode(request.req, { Node: node, isOwnOnly: true }, { store: state.store, log });
        ruleHolders.take(node, reports);
        tellOthers(PEER_PATH, { Node: node, Reports: reports });
        reply(request, true);
      },
    },
  };
}

/** An agent tells one catalog; by this each of them knows of all proxies. */
export function ruleHolderPeerTable({ ruleHolders }: CatalogDeps): ApiTable {
  return {
    [PEER_PATH]: {
      PUT: async (request) => {
        const { node, reports } = decodeReports(await readBody(request.req, MAX_BODY));
        ruleHolders.take(node, reports);
        reply(request, true);
      },
    },
  };
}

function decodeReports(bytes: Buffer): { node: string; reports: RuleReport[] } {
  try {
    const { Node = "", Reports = [] } = decodeBody(bytes, HOLDER_FIELDS) as { Node?: string; Reports?: RuleReport[] };
    if (Node === "") throw new RangeError("Node is empty");
    if (Reports.length > MAX_REPORTS)
      throw new RangeError(`Reports has ${Reports.length} elements, at most ${MAX_REPORTS} are accepted`);
    return { node: Node, reports: Reports.map((report, i) => readRuleReport(report, `Reports[${i}].`)) };
  } catch (error) {
    throw refusal(400, `Bad request: ${describeError(error)}`);
  }
}

/** What a write of rules came to, once those who hold rules have taken it over. */
export interface WriteEffect {
  /** X-Consul-Index of the rules since. */
  Version: number;
  /** Proxies that hold it, of those that hold rules at all. */
  Reached: number;
  Holders: number;
  /** Connections that were cut, and where. */
  Cut: number;
  Cuts: Cut[];
  /** Who did not answer in time. */
  Missing: Holder[];
  /** Instances in the mesh of which nobody tells what they hold: Consul's proxies, which ask at each connection and cut none. */
  Unreported: Unreported[];
}

export interface Unreported {
  Node: string;
  ServiceID: string;
  Service: string;
}

/** Answers a write, at once, or with `wait-cut` (a duration of at most 60 s; 10 s) with what it came to. */
export async function replyToWrite(request: ApiRequest, deps: CatalogDeps, answer: unknown): Promise<void> {
  const waitMs = waitOf(request);
  if (waitMs === undefined) return reply(request, answer);
  const effect = await effectOf(request, deps, waitMs);
  reply(request, { ...(typeof answer === "object" ? answer : { Written: answer }), ...effect });
}

/** How long the writer wants to wait; undefined where it does not. Throws 400: ask before writing. */
export function waitOf({ query }: ApiRequest): number | undefined {
  const text = query.get("wait-cut");
  if (text === null) return undefined;
  if (text === "") return DEFAULT_WAIT_MS;
  let ms = Number.NaN;
  try {
    ms = parseDuration(text);
  } catch {
    // as below
  }
  if (ms > 0 && ms <= MAX_WAIT_MS) return ms;
  throw refusal(400, `wait-cut is ${JSON.stringify(text.slice(0, 64))}: want a duration of at most 60s, such as 10s`);
}

async function effectOf({ res }: ApiRequest, deps: CatalogDeps, waitMs: number): Promise<WriteEffect> {
  const { ruleHolders, state } = deps;
  const Version = state.topics.index([INTENTIONS]);
  const gone = new AbortController();
  res.once("close", () => gone.abort());
  whenDraining(res, () => gone.abort());
  await ruleHolders.reached(Version, waitMs, gone.signal);
  const holders = ruleHolders.list();
  const missing = holders.filter((holder) => holder.Version < Version);
  const cuts = ruleHolders.cutsSince(Version);
  return {
    Version,
    Reached: holders.length - missing.length,
    Holders: holders.length,
    Cut: cuts.reduce((sum, { Count }) => sum + Count, 0),
    Cuts: cuts.slice(0, MAX_NAMED),
    Missing: missing.slice(0, MAX_NAMED),
    Unreported: unreported(deps).slice(0, MAX_NAMED),
  };
}

/** Proxies and native instances that are registered, of one service or of all, and of which no holder tells. */
export function unreported({ ruleHolders, state }: CatalogDeps, service?: string): Unreported[] {
  const holders = ruleHolders.list(service);
  const known = new Set(holders.map(({ Node, Proxy, Service }) => key(Node, Proxy || Service)));
  const instances = service === undefined ? state.services() : state.connectInstances(service);
  return instances.flatMap(({ value: { Node, Service: own } }) => {
    const isProxy = own.Kind === "connect-proxy";
    if (!isProxy && !own.Connect?.Native) return [];
    const name = isProxy ? (own.Proxy?.DestinationServiceName ?? "") : own.Service;
    if (known.has(key(Node, own.ID)) || known.has(key(Node, name))) return [];
    return [{ Node, ServiceID: own.ID, Service: name }];
  });
}

const key = (node: string, name: string): string => `${node}\0${name}`.toLowerCase();
