import * as fc from "fast-check";
import { expect, test } from "vitest";
import { Draft, LocalStore, memoryBackend, type Store, type Write } from "./index.ts";

const step = fc.array(
  fc.record({
    table: fc.constantFrom("a", "b"),
    key: fc.constantFrom("k", "k1", "k2", "l"),
    value: fc.option(fc.nat(3), { nil: undefined }),
  }),
  { maxLength: 4 },
);

const content = (store: { list: Store["list"] }) =>
  ["a", "b"].flatMap((table) => store.list(table, "k").map(({ key, value }) => [table, key, value]));

test("a draft shows what committing its steps one after the other would leave, and its writes leave the same", async () => {
  await fc.assert(
    fc.asyncProperty(step, fc.array(step, { maxLength: 4 }), async (first, steps) => {
      await using stepwise = await LocalStore.open(memoryBackend());
      await using atOnce = await LocalStore.open(memoryBackend());
      const run = (store: Store, writes: Write[]) => store.run(() => ({ writes, result: undefined }));
      await run(stepwise, first);
      await run(atOnce, first);
      const before = atOnce.revision;
      const draft = new Draft(atOnce);
      for (const writes of steps) {
        await run(stepwise, writes);
        draft.apply(writes);
        expect(content(draft)).toEqual(content(stepwise));
      }
      expect(atOnce.revision).toBe(before);
      await run(atOnce, draft.writes());
      expect(content(atOnce)).toEqual(content(stepwise));
    }),
  );
});

test("what a command makes and takes away again is not there", async () => {
  await using store = await LocalStore.open(memoryBackend());
  const writes = [
    { table: "a", key: "k", value: 1 },
    { table: "a", key: "k" },
  ];
  await store.run(() => ({ writes, result: undefined }));
  expect(store.get("a", "k")).toBeUndefined();
});

test("a record that is deleted and made again in one step is a new one", async () => {
  await using store = await LocalStore.open(memoryBackend());
  await store.run(() => ({ writes: [{ table: "a", key: "k", value: 1 }], result: undefined }));
  const { revision } = await store.run((view) => {
    const draft = new Draft(view);
    draft.apply([{ table: "a", key: "k" }]);
    draft.apply([{ table: "a", key: "k", value: 2 }]);
    return { writes: draft.writes(), result: undefined };
  });
  expect(store.get("a", "k")).toMatchObject({ value: 2, createIndex: revision, modifyIndex: revision });
});
