/** When each check came to its status, as this catalog saw it. In memory: a time is of use while somebody wonders about it. */
import type { Clock } from "@heddle/daemon";
import type { Store } from "@heddle/store";
import { checkKey, CHECKS, type CheckRecord } from "./records.ts";

export class StatusTimes {
  readonly #times = new Map<string, number>();

  constructor(store: Store, clock: Clock) {
    store.subscribe(({ changes }) => {
      for (const { table, key, before, after } of changes) {
        if (table !== CHECKS) continue;
        const [was, is] = [before, after].map((record) => (record?.value as CheckRecord | undefined)?.Status);
        if (is === undefined) this.#times.delete(key);
        else if (was !== is) this.#times.set(key, clock.now());
      }
    });
  }

  /** Milliseconds since the epoch; undefined where it has that status since before this catalog's start. */
  since({ Node, CheckID }: Pick<CheckRecord, "CheckID" | "Node">): number | undefined {
    return this.#times.get(checkKey(Node, CheckID));
  }
}
