import { LocalStore, memoryBackend } from "@heddle/store";
import { describe, expect, it } from "vitest";
import { JOIN_TOKENS, type JoinTokenRecord } from "./records.ts";
import { admit, makeToken, storeToken } from "./tokens.ts";

const NOW = Date.UTC(2026, 0, 1);
const joiner = (node: string, token: string, keyId = `key of ${node}`) => ({ node, keyId, token, isTaken: false });

async function withToken(uses: number) {
  // A backend that commits later: two who come at once are both on their way.
  const store = await LocalStore.open({
    load: () => Promise.resolve(0),
    append: () => new Promise((resolve) => setImmediate(resolve)),
    close: () => Promise.resolve(),
  });
  const token = makeToken({ ttlMs: 1_000, uses }, NOW);
  await store.run(storeToken(token, NOW));
  return { store, token };
}

describe("a join token", () => {
  it("is kept as a hash", async () => {
    const { store, token } = await withToken(1);
    expect(JSON.stringify(store.list(JOIN_TOKENS))).not.toContain(token.text.split(".")[1]);
  });

  it("lets in no more than its uses, whoever comes at once (A26)", async () => {
    const { store, token } = await withToken(3);
    const all = Array.from({ length: 20 }, (_, i) => store.run(admit(joiner(`n${i}`, token.text), NOW)));
    const done = await Promise.allSettled(all);
    expect(done.filter(({ status }) => status === "fulfilled")).toHaveLength(3);
    expect(store.get<JoinTokenRecord>(JOIN_TOKENS, token.id)?.value.used).toBe(3);
  });

  it("is not counted again for a node that asks again with its key", async () => {
    const { store, token } = await withToken(2);
    for (let i = 0; i < 5; i++) await store.run(admit(joiner("n1", token.text), NOW));
    expect(store.get<JoinTokenRecord>(JOIN_TOKENS, token.id)?.value.used).toBe(1);
    await expect(store.run(admit(joiner("N1", token.text, "another"), NOW))).rejects.toThrow("joined with another key");
  });

  it("is over at its end to the millisecond", async () => {
    const { store, token } = await withToken(2);
    await store.run(admit(joiner("n1", token.text), NOW + 999));
    await expect(store.run(admit(joiner("n2", token.text), NOW + 1_000))).rejects.toThrow("expired at");
  });

  it("opens nothing with a word changed", async () => {
    const { store, token } = await withToken(1);
    for (const text of ["", "x", token.id, `${token.id}.`, `${token.text}a`, `.${token.text}`, token.text.slice(0, -1)])
      await expect(store.run(admit(joiner("n1", text), NOW))).rejects.toThrow(/want a join token|is unknown/);
  });
});

it("a store in memory counts the same", async () => {
  const store = await LocalStore.open(memoryBackend());
  const token = makeToken({ ttlMs: 1_000, uses: 1, node: "n1" }, NOW);
  await store.run(storeToken(token, NOW));
  await expect(store.run(admit(joiner("n2", token.text), NOW))).rejects.toThrow("is for node 'n1', not 'n2'");
  expect((await store.run(admit(joiner("n1", token.text), NOW))).result).toBe(token.id);
});
