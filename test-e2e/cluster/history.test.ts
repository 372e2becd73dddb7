/**
 * CON-01, CON-02: concurrent clients of three catalogs on three etcd members, while any of them is killed, stopped or cut off.
 * What the clients were told must be explained by some order. HEDDLE_SOAK_SECONDS and HEDDLE_SEED: tools/soak/linearizability.sh.
 */
import { hasEtcd, startEtcd } from "@heddle/store/testing";
import { test } from "vitest";
import { ask, put, until } from "../faults/daemon.ts";
import { type Ask, runClient } from "./clients.ts";
import { startCatalogs } from "./cluster.ts";
import { explains, generator, newHistory } from "./histories.ts";
import { startRelay } from "./relay.ts";

const SECONDS = Number(process.env.HEDDLE_SOAK_SECONDS ?? 60);
const SEED = Number(process.env.HEDDLE_SEED ?? Math.floor(Math.random() * 2 ** 31));
const CLIENTS = 5;
const TIMEOUT_MS = 4_000; // of a client
const FAULT_MS = [1_000, 3_000] as const; // how long each lasts, and the peace after it

test.runIf(hasEtcd)(
  `${SECONDS} s of faults: the history of keys and locks is linearizable (seed ${SEED})`,
  async () => {
    const random = generator(SEED);
    const between = ([low, high]: readonly [number, number]) => low + random() * (high - low);
    await using etcd = await startEtcd({ members: 3 });
    await using stack = new AsyncDisposableStack();
    // Each catalog has links of its own to the members, to be cut one by one.
    const links = await Promise.all(
      ["a", "b", "c"].map(() =>
        Promise.all(etcd.endpoints.map(async (url) => stack.use(await startRelay(Number(new URL(url).port))))),
      ),
    );
    const catalogs = await Promise.all(
      ["a", "b", "c"].map(async (name, i) => {
        const hosts = links[i]?.map(({ port }) => `127.0.0.1:${port}`).join(",");
        const [catalog] = await startCatalogs(`-store=etcd://${hosts}/history`, [name]);
        return catalog as NonNullable<typeof catalog>;
      }),
    );
    const urls = catalogs.map(({ url }) => url);
    await put(`${urls[0]}/v1/catalog/register`, { Node: "n", Address: "10.0.0.1" });

    const history = newHistory();
    const stop = new AbortController();
    const clients = Array.from({ length: CLIENTS }, (_, i) => {
      const own = generator(SEED + i + 1);
      const anyOf: Ask = (method, path, body) =>
        ask(`${urls[Math.floor(own() * urls.length)]}${path}`, {
          ...{ method, timeoutMs: TIMEOUT_MS },
          ...(body !== undefined && { body }),
        });
      return runClient({ name: `c${i}`, ask: anyOf, random: own, history, signal: stop.signal });
    });
    const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    const faults: string[] = [];
    const member = () => Math.floor(random() * 3);
    const kinds = [
      async (i: number) => {
        faults.push(`kill catalog ${i}`);
        await catalogs[i]?.restart();
      },
      async (i: number) => {
        faults.push(`stop catalog ${i}`);
        catalogs[i]?.signal("SIGSTOP");
        await pause(between(FAULT_MS));
        catalogs[i]?.signal("SIGCONT");
      },
      async (i: number) => {
        faults.push(`kill etcd ${i}`);
        await etcd.signal(i, "SIGKILL");
        await pause(between(FAULT_MS));
        await etcd.restart(i);
      },
      async (i: number) => {
        faults.push(`stop etcd ${i}`);
        await etcd.signal(i, "SIGSTOP");
        await pause(between(FAULT_MS));
        await etcd.signal(i, "SIGCONT");
      },
      async (i: number) => {
        const cut = links[i]?.filter(() => random() < 0.7) ?? [];
        faults.push(`cut catalog ${i} off from ${cut.length} members`);
        for (const link of cut) link.setSilent(true);
        await pause(between(FAULT_MS));
        for (const link of cut) link.setSilent(false);
      },
    ];
    const end = performance.now() + SECONDS * 1_000;
    while (performance.now() < end) {
      await kinds[Math.floor(random() * kinds.length)]?.(member());
      await pause(between(FAULT_MS) / 2);
    }
    // Everything is well again.
    for (const url of urls)
      await until(
        () => put(`${url}/v1/kv/well`, "1"),
        ({ status }) => status === 200,
        30_000,
      );
    stop.abort();
    await Promise.all(clients);

    explains(history, { seed: SEED, faults, atLeast: SECONDS * 10 });
  },
  SECONDS * 1_000 + 120_000,
);
