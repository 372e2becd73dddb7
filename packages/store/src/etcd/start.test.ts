/** A daemon that starts waits for an etcd that goes away meanwhile, also once its records are read. */
import { createLogHub } from "@heddle/daemon";
import { expect, it } from "vitest";
import type { Command } from "../record.ts";
import { hasEtcd, startEtcd, TEST_SERVER } from "../testing.ts";
import { EtcdStore } from "./store.ts";

const increment: Command<number> = (view) => {
  const value = (view.get<number>("kv", "counter")?.value ?? 0) + 1;
  return { writes: [{ table: "kv", key: "counter", value }], result: value };
};

it.runIf(hasEtcd)(
  "what it commits waits as the start itself does, is written once, and is given up where the start is",
  async () => {
    await using etcd = await startEtcd();
    const said: string[] = [];
    const log = createLogHub({ level: "warn", write: (line) => void said.push(line) }).log;
    const told = (times: number) =>
      expect.poll(() => said.filter((line) => line.includes("waiting for etcd")).length).toBe(times);
    const ends = new AbortController();
    const open = () => EtcdStore.open({ client: etcd.client(), root: "m", name: "test", log, waitUntil: ends.signal });
    await using store = await open();
    await using other = await open();
    await etcd.signal(0, "SIGKILL");
    const first = store.run(increment);
    await told(1);
    await etcd.restart(0);
    expect((await first).result).toBe(1);
    await store.join(TEST_SERVER);
    store.hasStarted();
    expect((await store.run(increment)).result).toBe(2);

    await other.catchUp();
    await etcd.signal(0, "SIGKILL");
    const second = other.run(increment);
    await told(2);
    ends.abort();
    await expect(second).rejects.toThrow("No cluster leader");
    await etcd.restart(0);
  },
  30_000,
);
