/** POST /v1/connect/intentions/plan: what a change of the rules would cut or let through, before it is made. Not Consul's. */
import { decodeConfigEntry, normaliseConfigEntry } from "@heddle/config-entries";
import {
  type ApiRequest,
  type Decoded,
  decodeObject,
  describeError,
  parseBody,
  readBody,
  refusal,
  reply,
} from "@heddle/daemon";
import { findIdleRules, planChange, type PlannedPair } from "@heddle/intentions";
import { Draft } from "@heddle/store";
import { writeDestination } from "../commands/intention-entries.ts";
import { deleteIntention, INTENTION_FIELDS, upsertIntention } from "../commands/intentions.ts";
import type { CatalogDeps } from "../deps.ts";
import { INTENTIONS, type IntentionRecord } from "../records.ts";
import { unreported } from "./rule-holders.ts";
import { showIntention } from "./intentions.ts";

const MAX_BODY = 1024 * 1024;
const MAX_CHANGES = 1_000;
const MAX_SHOWN = 1_000;

export const PLAN_FIELDS = { Set: { list: "any" }, Delete: { list: "any" } } as const;

export async function plan(deps: CatalogDeps, request: ApiRequest): Promise<void> {
  const { state, ruleHolders, defaultIntentionPolicy } = deps;
  const { set, remove } = decode(await readBody(request.req, MAX_BODY));
  const before = rulesOf(state.store);
  const draft = new Draft(state.store);
  for (const [i, item] of set.entries()) at(`Set[${i}]`, () => draft.apply(writesOf(draft, item)));
  for (const [i, item] of remove.entries()) at(`Delete[${i}]`, () => draft.apply(deletesOf(draft, item)));
  const known = new Map(before.map((rule) => [rule.ID, rule.Hash]));
  const after = rulesOf(draft).map((rule) => (known.has(rule.ID) ? rule : { ...rule, ID: "new" })); // it gets one when it is made
  const defaultAllow = defaultIntentionPolicy === "allow";
  const { Cut, Opened, Unchanged } = planChange({ before, after, defaultAllow, pairs: ruleHolders.pairs() });
  const idle = findIdleRules(after, defaultAllow).filter(
    ({ rule }) => known.get(rule.ID) !== (rule as { Hash?: string }).Hash,
  );
  const shown = (pairs: PlannedPair[]) =>
    pairs.slice(0, MAX_SHOWN).map((pair) => ({ ...pair, Where: ruleHolders.open(pair.Source, pair.Destination) }));
  reply(request, {
    Connections: Cut.reduce((sum, { Open }) => sum + Open, 0),
    CutPairs: Cut.length,
    Cut: shown(Cut),
    OpenedPairs: Opened.length,
    Opened: shown(Opened),
    Unchanged,
    Holders: ruleHolders.list().length,
    Unreported: unreported(deps).slice(0, MAX_SHOWN),
    IdleRules: idle.map(({ rule, because }) => ({
      Source: rule.SourceName,
      Destination: rule.DestinationName,
      Because: because,
    })),
  });
}

type Item = Record<string, unknown>;

function decode(bytes: Buffer): { set: Item[]; remove: Item[] } {
  let body: Decoded;
  try {
    body = decodeObject(parseBody(bytes), PLAN_FIELDS);
  } catch (error) {
    throw refusal(400, `Bad request: ${describeError(error)}`);
  }
  const list = (name: "Delete" | "Set"): Item[] => {
    const items = (body[name] as unknown[] | undefined) ?? [];
    const wrong = items.findIndex((item) => typeof item !== "object" || item === null || Array.isArray(item));
    if (wrong >= 0) throw refusal(400, `Bad request: ${name}[${wrong}] is no object`);
    return items as Item[];
  };
  const [set, remove] = [list("Set"), list("Delete")];
  const count = set.length + remove.length;
  if (count === 0) throw refusal(400, "Bad request: nothing would change: want rules in Set or Delete");
  if (count > MAX_CHANGES) throw refusal(400, `Bad request: ${count} changes, at most ${MAX_CHANGES} are accepted`);
  return { set, remove };
}

/** Names the change that is wrong. */
function at(where: string, act: () => void): void {
  try {
    act();
  } catch (cause) {
    throw refusal(400, `Bad request: ${where}: ${describeError(cause)}`, cause);
  }
}

/** A `service-intentions` entry is all rules of its destination; an intention is the one between its two names. */
function writesOf(draft: Draft, item: Item) {
  const now = new Date();
  if (Object.keys(item).some((name) => name.toLowerCase() === "kind")) {
    const entry = normaliseConfigEntry(decodeConfigEntry(item));
    if (entry.Kind !== "service-intentions")
      throw refusal(400, `kind '${entry.Kind}' says nothing of who may talk to whom`);
    return writeDestination(draft, entry, now);
  }
  return upsertIntention(decodeObject(item, INTENTION_FIELDS), now)(draft).writes;
}

function deletesOf(draft: Draft, item: Item) {
  const wanted = decodeObject(item, INTENTION_FIELDS) as Partial<IntentionRecord>;
  const { ID, SourceNS = "default", SourceName, DestinationNS = "default", DestinationName } = wanted;
  const found = draft
    .list<IntentionRecord>(INTENTIONS)
    .find(({ key, value }) =>
      ID
        ? key === ID
        : value.SourceName === SourceName &&
          value.DestinationName === DestinationName &&
          value.SourceNS === SourceNS &&
          value.DestinationNS === DestinationNS,
    );
  if (!found) throw refusal(400, "no such intention: want ID, or SourceName and DestinationName of one");
  return deleteIntention(found.key)(draft).writes;
}

const rulesOf = (view: Pick<Draft, "list">) => view.list<IntentionRecord>(INTENTIONS).map(showIntention);
