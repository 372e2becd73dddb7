/** Daemons may start in any order: a catalog, a CA and a whole server whose etcd is not there yet wait for it, and say so. */
import { randomBytes } from "node:crypto";
import { type EtcdCluster, hasEtcd, startEtcd } from "@heddle/store/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort, get, heddle, tempDir, until } from "../faults/daemon.ts";
import { storeOf } from "./cluster.ts";

const key = randomBytes(32).toString("base64");
let etcd: EtcdCluster;
beforeAll(async () => {
  if (!hasEtcd) return;
  etcd = await startEtcd();
  await etcd.signal(0, "SIGKILL");
}, 30_000);
afterAll(() => etcd?.[Symbol.asyncDispose]());

test.runIf(hasEtcd)(
  "etcd comes last",
  async () => {
    const [port, ops, caPort, caOps, http, server] = await Promise.all(Array.from({ length: 6 }, () => freePort()));
    const store = storeOf(etcd);
    const env = { CA_KEY: key };
    const agent = [
      "agent",
      "-server",
      "-bootstrap-expect=1",
      "-node=n1",
      "-bind=127.0.0.1",
      `-data-dir=${tempDir()}`,
      "-dns-port=-1",
    ];
    const started = [
      heddle([
        "serve",
        "catalog",
        `-port=${port}`,
        `-metrics-port=${ops}`,
        `-ca-url=http://127.0.0.1:${caPort}`,
        store,
      ]),
      heddle(["serve", "ca", `-port=${caPort}`, `-metrics-port=${caOps}`, "-encryption-key=env:CA_KEY", store], {
        env,
      }),
      heddle(
        [...agent, `-http-port=${http}`, `-server-port=${server}`, "-ca-encryption-key=env:CA_KEY", storeOf(etcd)],
        {
          env,
        },
      ),
    ];
    for (const daemon of started) await daemon.saw("waiting for etcd");
    for (const at of [ops, caOps]) {
      expect((await get(`http://127.0.0.1:${at}/readyz`)).status).toBe(503);
      expect((await get(`http://127.0.0.1:${at}/healthz`)).status).toBe(200);
    }

    // One that is told to end while it waits does so.
    const idle = heddle(["serve", "catalog", `-port=${await freePort()}`, storeOf(etcd)]);
    await idle.saw("waiting for etcd");
    expect(await idle.end("SIGTERM")).toEqual([0, null]);

    await etcd.restart(0);
    for (const daemon of started) await daemon.saw(/is serving|Heddle agent running!/);
    for (const at of [ops, caOps])
      await until(
        () => get(`http://127.0.0.1:${at}/readyz`),
        ({ status }) => status === 200,
      );
    expect((await get(`http://127.0.0.1:${http}/v1/status/leader`)).status).toBe(200);
    for (const daemon of started) {
      // Once for each of its stores, and not with each try.
      expect(daemon.output().match(/waiting for etcd/g)?.length).toBeLessThanOrEqual(2);
      expect(await daemon.end()).toEqual([0, null]);
    }
  },
  60_000,
);
