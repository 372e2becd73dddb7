/**
 * What the handler of a watch is told: the view, or what has changed in it, each time that it differs from what was told last.
 * With a cursor "last" outlives the process, and a change whose handler failed is told again.
 */
import { createHash, randomUUID } from "node:crypto";
import { InvalidArgumentError } from "@heddle/daemon";
import type { ApiClient, ApiResponse } from "./client.ts";
import { parseExact, toExactJson } from "./exact-json.ts";
import type { WatchFailure } from "./watch.ts";
import type { EventPosition, WatchPlan } from "./watch-plan.ts";

const MAX_KEPT_VIEW = 1024 * 1024; // characters of a view that a cursor keeps, to tell what changed after a restart
const ID_LENGTH = 32;

export interface WatchChange {
  /** The same for the same change, however often it is told. */
  id: string;
  /** X-Consul-Index of the answer; 0 where it waits on a hash. */
  index: number;
  /** What the handler gets, parsed with integers exact. */
  value: unknown;
  /** The same as one line of JSON. */
  json: string;
}

/** How far a handler has been told. */
export interface WatchPosition {
  /** Path and parameters of the watch: a position of another one means nothing. */
  watch: string;
  /** Made with the cursor, and how many changes were told since; 0: none yet. Together they make the ids. */
  origin: string;
  count: number;
  /** SHA-256 of the view that was told last, and the view itself where it is not too long. */
  digest: string;
  view: string | null;
  eventId: string | null;
}

/** Where a position is kept. */
export interface WatchCursor {
  load(): WatchPosition | undefined;
  save(position: WatchPosition): void | Promise<void>;
}

export const FIRE_ON = ["initial", "change"] as const;
/** When a handler is told: at once and after each change, or after changes alone. */
export type FireOn = (typeof FIRE_ON)[number];

export const DELIVER = ["view", "change"] as const;
/** What a handler is told: the view as it is, as in Consul, or before and after with the names of what differs. */
export type Deliver = (typeof DELIVER)[number];

/** Reads `fire_on`. Throws InvalidArgumentError. */
export const parseFireOn = (value: unknown): FireOn => oneOf("fire_on", FIRE_ON, value ?? "initial");
/** Reads `deliver`. Throws InvalidArgumentError. */
export const parseDeliver = (value: unknown): Deliver => oneOf("deliver", DELIVER, value ?? "view");

function oneOf<T extends string>(name: string, known: readonly T[], value: unknown): T {
  const found = known.find((one) => one === value);
  if (!found) throw new InvalidArgumentError(`invalid ${name} ${JSON.stringify(value)}: want ${known.join(" or ")}`);
  return found;
}

export interface WatchChangesOptions {
  signal: AbortSignal;
  /** The longest pause between attempts while the agent is away. */
  retryMaxMs?: number;
  onError?: (failure: WatchFailure) => void;
  /** Whether the view as it is at first is told too; "initial" by default, as in Consul. */
  fireOn?: FireOn;
  deliver?: Deliver;
  /** Loaded once; saved when the consumer asks for the next change, that is, when it has done with this one. */
  cursor?: WatchCursor | undefined;
}

/** What a plan's handler is to be told. A consumer that throws has not been told: its cursor stays where it was. */
export async function* watchChanges(
  api: ApiClient,
  plan: WatchPlan,
  { fireOn, deliver, cursor, ...options }: WatchChangesOptions,
): AsyncGenerator<WatchChange, void, void> {
  const watch = `${plan.path} ${JSON.stringify(plan.query)}`;
  const isEvent = plan.type === "event";
  const known = cursor?.load();
  const isKnown = known?.watch === watch;
  let position = isKnown ? known : newPosition(watch);
  if (!isKnown) await cursor?.save(position);
  const { path, query, hash } = plan;
  for await (const answer of api.watch(path, { ...options, query, hash, allow: [404] })) {
    const seen: EventPosition = { eventId: position.eventId ?? undefined };
    const view = toView(plan, answer, seen);
    // A view is news where it differs, an event each time.
    const isOld = isEvent ? view.json === "[]" : isSame(view.json, position);
    const isFirst = position.count === 0;
    if (!isFirst && isOld) continue;
    const next: WatchPosition = {
      ...position,
      ...{ count: position.count + 1, digest: digestOf(view.json), view: view.json, eventId: seen.eventId ?? null },
    };
    if (!isFirst || fireOn !== "change") yield toChange(plan, { answer, view, before: position, next, deliver });
    position = next;
    await cursor?.save(view.json.length > MAX_KEPT_VIEW ? { ...next, view: null } : next);
  }
}

const newPosition = (watch: string): WatchPosition => ({
  ...{ watch, origin: randomUUID(), count: 0 },
  ...{ digest: "", view: null, eventId: null },
});

/** The view as it is now. */
export async function readWatchPlan(api: ApiClient, plan: WatchPlan): Promise<Omit<WatchChange, "id">> {
  const answer = await api.get(plan.path, { query: plan.query, allow: [404] });
  return { index: answer.index, ...toView(plan, answer, {}) };
}

interface View {
  value: unknown;
  json: string;
}

function toView(plan: WatchPlan, answer: ApiResponse, seen: EventPosition): View {
  const body = answer.status === 404 ? null : parseExact(answer.raw.toString("utf8"));
  const value = plan.pick(body, seen);
  return { value, json: toExactJson(value) };
}

const digestOf = (text: string): string => createHash("sha256").update(text).digest("hex");

const isSame = (json: string, { view, digest }: WatchPosition): boolean =>
  view === null ? digest === digestOf(json) : view === json;

function toChange(
  plan: WatchPlan,
  {
    answer: { index },
    view,
    before,
    next,
    deliver,
  }: {
    answer: ApiResponse;
    view: View;
    before: WatchPosition;
    next: WatchPosition;
    deliver: Deliver | undefined;
  },
): WatchChange {
  const id = digestOf(`${next.origin} ${next.count} ${next.digest}`).slice(0, ID_LENGTH);
  if (deliver !== "change") return { id, index, ...view };
  const Before = before.view !== null && plan.type !== "event" ? parseExact(before.view) : null;
  const isKnown = before.count === 0 || before.view !== null;
  const value = {
    ID: id,
    Index: index,
    Before,
    After: view.value,
    ...(isKnown && differences(plan, Before, view.value)),
  };
  return { id, index, value, json: toExactJson(value) };
}

/** By name what came, went and is otherwise than before: parts of a list, entries of a map, fields of one thing. */
function differences({ nameOf }: WatchPlan, before: unknown, after: unknown) {
  if (!nameOf && Array.isArray(after)) return {};
  const parts = (view: unknown): Map<string, string> =>
    new Map(
      Array.isArray(view)
        ? view.map((part: unknown) => [nameOf?.(part) ?? "", toExactJson(part)])
        : Object.entries(view ?? {}).map(([name, part]) => [name, toExactJson(part)]),
    );
  const [old, now] = [parts(before), parts(after)];
  return {
    Added: [...now.keys()].filter((name) => !old.has(name)),
    Removed: [...old.keys()].filter((name) => !now.has(name)),
    Changed: [...now].filter(([name, part]) => old.has(name) && old.get(name) !== part).map(([name]) => name),
  };
}
