/**
 * What is made ready for a switch to another root or signer, as a record: any CA on the store can stop it, and the store decides between
 * the stop and the switch, which are both commits. Keys are made and Vaults asked meanwhile, so it may take a while.
 */
import { randomUUID } from "node:crypto";
import { type Clock, HeddleError } from "@heddle/daemon";
import type { Store, View, Write } from "@heddle/store";
import { PREPARATION, PREPARATION_KEY as KEY, type PreparationRecord } from "./records.ts";

const FORGOTTEN_MS = 120_000; // its CA has died: none takes as long

/** Reads what is being prepared as a command does: throws where it was stopped, and gives the writes that end it. */
export type Finish = (view: View) => Write[];

export interface Preparations {
  /**
   * Runs `work`, whose last commit holds the writes of `finish`. Rejects with code `conflict` as soon as it is stopped; what goes on
   * of it then cannot be committed any more.
   */
  run<T>(work: (finish: Finish) => Promise<T>): Promise<T>;
  /** Stops what is being prepared, here or at another CA; false where nothing is. */
  stop(): Promise<boolean>;
  /** Since when something is being prepared, in milliseconds since the epoch. */
  since(): number | undefined;
  /** When the last one was stopped, if none has begun since. */
  stoppedAt(): number | undefined;
}

export function createPreparations({ store, clock }: { store: Store; clock: Clock }): Preparations {
  const read = (view: View) => view.get<PreparationRecord>(PREPARATION, KEY)?.value;
  // The instance of a process that is alone is another after each start.
  const isUnderWay = (record: PreparationRecord | undefined): record is PreparationRecord =>
    record !== undefined &&
    record.stoppedAt === undefined &&
    record.instance === store.instance &&
    clock.now() - record.since < FORGOTTEN_MS;
  const write = (value: PreparationRecord | undefined): Write => ({ table: PREPARATION, key: KEY, value });

  return {
    async run(work) {
      const own = { id: randomUUID(), instance: store.instance, since: clock.now() };
      const { promise: stopped, reject } = Promise.withResolvers<never>();
      stopped.catch(() => {});
      const unsubscribe = store.subscribe(({ changes }) => {
        const now = changes.find(({ table }) => table === PREPARATION)?.after?.value as PreparationRecord | undefined;
        const why = now && whyNot(own.id, now);
        if (why) reject(why);
      });
      try {
        await store.run(() => ({ writes: [write(own)], result: undefined }));
        const working = work((view) => {
          const why = whyNot(own.id, read(view));
          if (why) throw why;
          return [write(undefined)];
        });
        working.catch(() => {}); // after a stop nobody waits for it
        return await Promise.race([working, stopped]);
      } finally {
        unsubscribe();
        const isOwn = (record: PreparationRecord | undefined) => record?.id === own.id && !record.stoppedAt;
        // One that has failed is over; where the store cannot be written either, its time ends it.
        await store
          .run((view) => ({ writes: isOwn(read(view)) ? [write(undefined)] : [], result: undefined }))
          .catch(() => {});
      }
    },
    async stop() {
      const { result } = await store.run((view) => {
        const record = read(view);
        if (!isUnderWay(record)) return { writes: [], result: false };
        return { writes: [write({ ...record, stoppedAt: clock.now() })], result: true };
      });
      return result;
    },
    since() {
      const record = read(store);
      return isUnderWay(record) ? record.since : undefined;
    },
    stoppedAt: () => read(store)?.stoppedAt,
  };
}

/** Why a preparation may not be finished, by the record that is there. */
function whyNot(id: string, record: PreparationRecord | undefined): HeddleError | undefined {
  if (record?.id === id && record.stoppedAt === undefined) return undefined;
  const why = record?.id === id ? "was aborted" : "was overtaken by another one";
  return new HeddleError("conflict", `the rotation ${why} while it was being prepared: nothing has changed`);
}
