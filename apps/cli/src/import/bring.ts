/** Brings one area from one registry to another: what is new or changed is written, what has gone since is removed. */
import type { ApiClient } from "@heddle/api-client";
import type { Area } from "./areas.ts";

export interface BringOptions {
  source: ApiClient;
  target: ApiClient;
  /** What was there the last time. */
  before: ReadonlyMap<string, unknown>;
}

export interface Brought {
  there: Map<string, unknown>;
  written: number;
  removed: number;
}

export async function bring(area: Area, { source, target, before }: BringOptions): Promise<Brought> {
  const there = await area.read(source);
  const changed = [...there].filter(([id, item]) => JSON.stringify(item) !== JSON.stringify(before.get(id)));
  const gone = [...before].filter(([id]) => !there.has(id));
  await each(changed, area.atOnce, ([, item]) => area.write(target, item));
  await each(gone.reverse(), area.atOnce, ([, item]) => area.remove(target, item));
  return { there, written: changed.length, removed: gone.length };
}

/** A few at a time, in order of their beginning. */
async function each<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<unknown>): Promise<void> {
  let at = 0;
  const next = async (): Promise<void> => {
    while (at < items.length) await work(items[at++] as T);
  };
  await Promise.all(Array.from({ length: atOnce }, next));
}
