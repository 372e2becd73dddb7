/** SQLite and etcd, driven with the same random commands, answer the same and count the same. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "@heddle/daemon";
import * as fc from "fast-check";
import { expect, it } from "vitest";
import { Draft } from "./draft.ts";
import { EtcdStore } from "./etcd/store.ts";
import { openStore } from "./open.ts";
import type { Command, Commit, Store, StoredRecord } from "./record.ts";
import { hasEtcd, startEtcd } from "./testing.ts";

const TABLES = ["kv", "nodes"];
const table = fc.constantFrom(...TABLES);
const key = fc.constantFrom("a", "a/", "a/b", "a/b\0c", "ä/🧵", "A", "b", "");
const value = fc.oneof(fc.nat(3), fc.constantFrom(null, "", "text"), fc.record({ deep: fc.array(fc.nat(2)) }));

type Step =
  | { type: "cas"; table: string; key: string; value: unknown; age: number }
  | { type: "delete-tree"; table: string; prefix: string }
  | { type: "put"; table: string; key: string; value: unknown }
  | { type: "refuse"; table: string; key: string }
  | { type: "remake"; table: string; key: string; value: unknown }
  | { type: "restore"; keep: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ type: fc.constant("put" as const), table, key, value }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("cas" as const), table, key, value, age: fc.nat(3) }) },
  fc.record({ type: fc.constant("remake" as const), table, key, value }),
  fc.record({ type: fc.constant("delete-tree" as const), table, prefix: fc.constantFrom("", "a", "a/", "ä") }),
  fc.record({ type: fc.constant("refuse" as const), table, key }),
  fc.record({ type: fc.constant("restore" as const), keep: fc.nat(4) }),
);

/** Indexes are told from where the store began, which is where the two differ. */
function toCommand(given: Exclude<Step, { type: "restore" }>, from: number): Command<unknown> {
  return (view) => {
    const before = given.type === "delete-tree" ? undefined : view.get(given.table, given.key);
    switch (given.type) {
      case "put":
        return { writes: [given], result: before?.value ?? "none" };
      case "cas": {
        const isMet = (before?.modifyIndex ?? from) - from === given.age;
        return { writes: isMet ? [given] : [], result: isMet };
      }
      case "remake": {
        const draft = new Draft(view);
        draft.apply([{ table: given.table, key: given.key }]);
        draft.apply([given]);
        const made = draft.get(given.table, given.key) as StoredRecord;
        return { writes: draft.writes(), result: [made.createIndex - from, made.modifyIndex - from] };
      }
      case "delete-tree": {
        const found = view.list(given.table, given.prefix);
        return { writes: found.map((r) => ({ table: r.table, key: r.key })), result: found.map((r) => r.key) };
      }
      case "refuse":
        throw new Error(`refused: ${JSON.stringify(before?.value)}`);
    }
  };
}

const shown = (records: readonly (StoredRecord | undefined)[], from: number) =>
  records.map((r) => r && [r.table, r.key, r.value, r.createIndex - from, r.modifyIndex - from]);

/** Everything that could be told apart: answers, indexes, what listeners hear, what is there in the end. */
async function drive(store: Store, steps: readonly Step[]): Promise<unknown[]> {
  const from = store.revision;
  const told: unknown[] = [];
  const stop = store.subscribe((commit: Commit) =>
    told.push(
      commit.revision - from,
      commit.changes
        .map((c) => [...shown([c.before, c.after], from)])
        .toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)),
    ),
  );
  for (const given of steps) {
    if (given.type === "restore") {
      const { revision, records } = store.snapshot();
      await store.restore(records.slice(0, given.keep), revision);
      told.push(records.length);
    } else {
      const answer = await store.run(toCommand(given, from)).then(
        ({ result, revision }) => [result, revision - from],
        (error: Error) => error.message,
      );
      told.push(answer);
    }
    told.push(...TABLES.map((t) => shown(store.list(t), from)));
  }
  stop();
  return told;
}

it.runIf(hasEtcd)(
  "SQLite and etcd answer the same to the same commands",
  async () => {
    await using etcd = await startEtcd();
    const dir = mkdtempSync(join(tmpdir(), "heddle-same-"));
    let runs = 0;
    try {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
          const root = `run${++runs}`;
          const name = "test";
          const fatal = () => {};
          await using sqlite = await openStore({ dataDir: join(dir, root), name, log: silentLog, onFatal: fatal });
          await using onEtcd = await EtcdStore.open({ client: etcd.client(), root, name, log: silentLog });
          // Where each begins to count: etcd's own first revision is taken by the store's making.
          await Promise.all(
            [sqlite, onEtcd].map((s) => s.run(toCommand({ type: "put", table: "x", key: "", value: 1 }, 0))),
          );
          const expected = await drive(sqlite, withoutRestores(steps));
          expect(await drive(onEtcd, withoutRestores(steps))).toEqual(expected);
          // A restore takes revisions of its own on each, so that only what is there is compared after it.
          await Promise.all([sqlite, onEtcd].map((s) => drive(s, withoutComparing(steps))));
          const content = (s: Store) => TABLES.map((t) => s.list(t).map((r) => [r.key, r.value]));
          expect(content(onEtcd)).toEqual(content(sqlite));
        }),
        { numRuns: 25 },
      );
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  },
  60_000,
);

const withoutRestores = (steps: readonly Step[]): Step[] => steps.filter(({ type }) => type !== "restore");

/** After a restore nothing that depends on an index. */
const withoutComparing = (steps: readonly Step[]): Step[] => {
  const restored = steps.findIndex(({ type }) => type === "restore");
  return steps.filter(({ type }, i) => type !== "cas" || restored < 0 || i < restored);
};
