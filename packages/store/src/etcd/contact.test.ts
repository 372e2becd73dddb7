/** Consistent reads: as many as wait together cost etcd one question, and none is answered by a question from before it. */
import { silentLog } from "@heddle/daemon";
import { expect, it } from "vitest";
import { hasEtcd, startEtcd } from "../testing.ts";
import type { EtcdClient } from "./client.ts";
import { EtcdStore } from "./store.ts";

it.runIf(hasEtcd)(
  "who waits while a question is under way shares the next one",
  async () => {
    await using etcd = await startEtcd();
    const inner = etcd.client();
    let asked = 0;
    const client: EtcdClient = {
      ...inner,
      range(options) {
        asked++;
        return inner.range(options);
      },
    };
    await using store = await EtcdStore.open({ client, root: "m", name: "test", log: silentLog });
    await using other = await EtcdStore.open({ client: etcd.client(), root: "m", name: "test", log: silentLog });
    const before = asked;
    const first = store.catchUp();
    await expect.poll(() => asked).toBeGreaterThan(before);
    const underWay = asked;
    const rest = Array.from({ length: 100 }, () => store.catchUp());
    await Promise.all([first, ...rest]);
    // One for the hundred, and one of the store's own, which asks by itself from time to time.
    expect(asked - underWay).toBeLessThanOrEqual(2);

    for (let value = 0; value < 50; value++) {
      void store.catchUp(); // one that is under way when the write is acknowledged is not the one that counts
      await other.run(() => ({ writes: [{ table: "kv", key: "k", value }], result: undefined }));
      await store.catchUp();
      expect(store.get("kv", "k")?.value).toBe(value);
    }
  },
  30_000,
);
