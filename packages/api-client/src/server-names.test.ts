import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { silentLog } from "@heddle/daemon";
import { afterEach, expect, test, vi } from "vitest";
import { createApiClient } from "./client.ts";
import { followServerNames } from "./server-names.ts";
import { serverList } from "./servers.ts";

const stack = new AsyncDisposableStack();
afterEach(() => vi.useRealTimers());

/** A name server of one name. */
function nameServer(addresses: string[]) {
  const state = { addresses, asked: 0 };
  return {
    state,
    resolve: async () => {
      state.asked++;
      if (state.addresses.length === 0) throw new Error("no such name");
      return state.addresses;
    },
  };
}

test("a name is its addresses, and who uses one of them goes on to the next", async () => {
  const text = "https://first.example:8300";
  const { resolve } = nameServer(["10.0.0.2", "10.0.0.1"]);
  using _ = await followServerNames(text, silentLog, resolve);
  const list = serverList(text);
  expect(list.all).toEqual([`${text}#10.0.0.1`, `${text}#10.0.0.2`]);
  const [first, second] = list.inOrder() as [string, string];
  list.failed(first);
  expect(list.current).toBe(second);
});

test("addresses come and go; the one that is asked stays until it fails", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  const text = "https://moving.example:8300";
  const { state, resolve } = nameServer(["10.0.0.1"]);
  using _ = await followServerNames(text, silentLog, resolve);
  const list = serverList(text);
  const old = `${text}#10.0.0.1`;
  expect(list.current).toBe(old);
  state.addresses = ["10.0.0.2"];
  await vi.advanceTimersByTimeAsync(10_000);
  expect(list.all).toEqual([old, `${text}#10.0.0.2`]);
  state.addresses = []; // what is known stays
  await vi.advanceTimersByTimeAsync(10_000);
  list.failed(old);
  expect(list.all).toEqual([`${text}#10.0.0.2`]);
});

test("the only address fails: the name is asked for at once, and not again and again", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
  const text = "https://alone.example:8300";
  const { state, resolve } = nameServer(["10.0.0.1"]);
  using _ = await followServerNames(text, silentLog, resolve);
  const list = serverList(text);
  await vi.advanceTimersByTimeAsync(1_000);
  state.addresses = ["10.0.0.3"];
  const { asked } = state;
  for (let i = 0; i < 20; i++) list.failed(list.current);
  await vi.advanceTimersByTimeAsync(0);
  expect(state.asked).toBe(asked + 1);
  list.failed(list.current);
  expect(list.current).toBe(`${text}#10.0.0.3`);
});

test("addresses in the list itself are nobody's names", async () => {
  const { state, resolve } = nameServer(["10.0.0.1"]);
  using _ = await followServerNames("http://127.0.0.1:8300,http://[::1]:8300,http://localhost:1", silentLog, resolve);
  expect(state.asked).toBe(0);
});

test("a request goes to the address, under the name", async () => {
  const hosts: (string | undefined)[] = [];
  const server = createServer((req, res) => {
    hosts.push(req.headers.host);
    res.end("{}");
  }).listen(0, "127.0.0.1");
  stack.defer(() => void server.close());
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const text = `http://nowhere.invalid:${port}`;
  using _ = await followServerNames(text, silentLog, nameServer(["127.0.0.1"]).resolve);
  const client = createApiClient({ address: text });
  stack.defer(() => client.close());
  await client.get("/v1/status/leader");
  expect(hosts).toEqual([`nowhere.invalid:${port}`]);
  await stack.disposeAsync();
});
