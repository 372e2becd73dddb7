import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { createApiClient } from "./client.ts";
import { type WatchChange, watchChanges, type WatchChangesOptions, type WatchPosition } from "./watch-changes.ts";
import { parseWatchPlan } from "./watch-plan.ts";

/** An agent that answers each read with what it is told to have; a read of what was read already blocks. */
async function startAgent() {
  let [index, body] = [1, JSON.stringify([])];
  const server = createServer((req, res) => {
    if (req.url?.includes(`index=${index}`)) return;
    res.writeHead(200, { "Content-Type": "application/json", "X-Consul-Index": String(index) });
    res.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const api = createApiClient({ address: `127.0.0.1:${(server.address() as AddressInfo).port}` });
  onTestFinished(() => {
    api.close();
    server.closeAllConnections();
    server.close();
  });
  const set = (view: unknown) => void ([index, body] = [index + 1, JSON.stringify(view)]);
  return { api, set };
}

const key = (name: string, value: string) => ({ Key: name, Value: value });
const PLAN = parseWatchPlan({ type: "keyprefix", prefix: "a" });

/** The next change; the consumer then has done with it, or has failed. */
async function next(
  api: ReturnType<typeof createApiClient>,
  options: Omit<WatchChangesOptions, "signal">,
  { fails = false, plan = PLAN } = {},
): Promise<WatchChange> {
  const controller = new AbortController();
  let told: WatchChange | undefined;
  try {
    for await (const change of watchChanges(api, plan, { ...options, signal: controller.signal })) {
      if (told) break; // asking for the next is what says that this one is done
      told = change;
      if (fails) throw new Error("the handler failed");
      controller.abort();
    }
  } catch (error) {
    expect((error as Error).message).toBe("the handler failed");
  }
  return told as WatchChange;
}

function cursorOf() {
  const saved: { position?: WatchPosition } = {};
  const cursor = { load: () => saved.position, save: (position: WatchPosition) => void (saved.position = position) };
  return { cursor, saved };
}

it("what failed is told again under its id, and what came since as one change", async () => {
  const { api, set } = await startAgent();
  const { cursor, saved } = cursorOf();
  set([key("a", "1")]);
  const first = await next(api, { cursor }, { fails: true });
  expect(first.json).toBe('[{"Key":"a","Value":"1"}]');
  const again = await next(api, { cursor });
  expect(again).toEqual(first);
  expect(saved.position).toMatchObject({ count: 1, view: first.json });

  set([key("a", "2")]);
  const failed = await next(api, { cursor }, { fails: true });
  expect(failed.id).not.toBe(first.id);
  set([key("a", "3"), key("b", "1")]);
  const { id, index, json } = await next(api, { cursor, deliver: "change" });
  expect([first.id, failed.id]).not.toContain(id);
  expect(JSON.parse(json)).toEqual({
    ...{ ID: id, Index: index, Before: [key("a", "1")], After: [key("a", "3"), key("b", "1")] },
    ...{ Added: ["b"], Removed: [], Changed: ["a"] },
  });
});

it("a change back and forth has an id of its own each time", async () => {
  const { api, set } = await startAgent();
  const { cursor } = cursorOf();
  const ids = new Set<string>();
  for (const value of ["1", "2", "1", "2"]) {
    set([key("a", value)]);
    ids.add((await next(api, { cursor })).id);
  }
  expect(ids.size).toBe(4);
});

it("the position of another watch, and a view too long to keep, are no view from before", async () => {
  const { api, set } = await startAgent();
  const { cursor, saved } = cursorOf();
  set([key("a", "x".repeat(1024 * 1024))]);
  await next(api, { cursor, deliver: "change" });
  expect(saved.position?.view).toBeNull();
  set([key("a", "1")]);
  const { value } = await next(api, { cursor, deliver: "change" });
  expect(value).toMatchObject({ Before: null, After: [key("a", "1")] });
  expect(value).not.toHaveProperty("Added");

  const other = parseWatchPlan({ type: "keyprefix", prefix: "b" });
  const anew = await next(api, { cursor, deliver: "change" }, { plan: other });
  expect(anew.value).toMatchObject({ Before: null, Added: ["a"], Removed: [], Changed: [] });
});

it("with fire_on = change the first view is remembered and told to nobody", async () => {
  const { api, set } = await startAgent();
  const { cursor, saved } = cursorOf();
  set({ web: ["v1"] });
  const plan = parseWatchPlan({ type: "services" });
  const controller = new AbortController();
  const changes = watchChanges(api, plan, { signal: controller.signal, cursor, fireOn: "change", deliver: "change" });
  const change = changes.next();
  await expect.poll(() => saved.position?.count).toBe(1);
  controller.abort();
  expect((await change).done).toBe(true);
  set({ web: ["v2"], db: [] });
  expect((await next(api, { cursor, fireOn: "change", deliver: "change" }, { plan })).value).toMatchObject({
    ...{ Before: { web: ["v1"] }, Added: ["db"], Changed: ["web"], Removed: [] },
  });
});
