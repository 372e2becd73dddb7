/** An agent that knows several servers goes on with another one when its own is killed or hangs, and nobody misses anything. */
import { hasEtcd, startEtcd } from "@heddle/store/testing";
import { expect, onTestFinished, test } from "vitest";
import { ask, daemon, freePort, get, put, tempDir, until } from "../faults/daemon.ts";
import { type CatalogProcess, startCatalogs, storeOf } from "./cluster.ts";

async function startAgent(catalogs: readonly CatalogProcess[]) {
  const [http, dns, serf] = await Promise.all([freePort(), freePort(), freePort()]);
  const flags = [
    ...["-data-dir", tempDir(), "-node=web1", "-bind=127.0.0.1", `-http-port=${http}`, `-dns-port=${dns}`],
    ...["-grpc-port=-1", `-serf-lan-port=${serf}`, "-ca-addr=http://127.0.0.1:1"],
    `-catalog-addr=${catalogs.map(({ url }) => url).join(",")}`,
  ];
  return daemon(["agent", ...flags], http);
}

test.runIf(hasEtcd)(
  "an agent moves to another server: writes go on, a watcher sees every change, its node stays alive",
  async () => {
    await using etcd = await startEtcd();
    const catalogs = await startCatalogs(storeOf(etcd), ["a", "b", "c"]);
    const agent = await startAgent(catalogs);
    const { url } = agent;
    await until(
      () => get(`${url}/v1/catalog/nodes`),
      ({ text }) => text.includes("web1"),
    );

    // A watcher that follows one key by blocking queries through the agent, as a client of Consul would.
    const seen: string[] = [];
    const stop = new AbortController();
    onTestFinished(() => stop.abort());
    const watching = (async () => {
      let index = 0;
      while (!stop.signal.aborted) {
        const answer = await ask(`${url}/v1/kv/k?index=${index}&wait=60s`, { timeoutMs: 70_000 }).catch(
          () => undefined,
        );
        if (answer?.status !== 200) continue;
        index = Number(answer.headers["x-consul-index"]);
        const value = Buffer.from(answer.json<[{ Value: string }]>()[0].Value, "base64").toString();
        if (seen.at(-1) !== value) seen.push(value);
      }
    })();

    /**
     * Writes until it is acknowledged, and waits until the watcher has seen it. By compare-and-set: a try that a stopped server
     * finds in its socket when it goes on must not take place after the others.
     */
    const write = async (value: string): Promise<void> => {
      const attempt = async () => {
        const now = await get(`${url}/v1/kv/k?consistent`);
        const [at] = now.status === 200 ? now.json<{ ModifyIndex: number; Value: string }[]>() : [];
        if (at && Buffer.from(at.Value, "base64").toString() === value) return true;
        return (await put(`${url}/v1/kv/k?cas=${at?.ModifyIndex ?? 0}`, value)).text.trim() === "true";
      };
      await until(attempt, Boolean, 30_000);
      await until(
        async () => seen.at(-1),
        (last) => last === value,
      );
    };
    const expected: string[] = [];
    const step = async (value: string) => {
      expected.push(value);
      await write(value);
    };
    const isAlive = async () => {
      const { text } = await get(`${url}/v1/health/node/web1`);
      return /"Name":"Serf Health Status"[^}]*"Status":"passing"|"Status":"passing"[^}]*"Name":"Serf Health Status"/.test(
        text,
      );
    };
    await step("at the start");
    for (const [i, how] of (["SIGKILL", "SIGSTOP", "SIGKILL"] as const).entries()) {
      const server = catalogs[i] as CatalogProcess;
      server.signal(how);
      await step(`after ${how} of ${server.name}`);
      if (how === "SIGSTOP") server.signal("SIGCONT");
      else await server.restart();
      await step(`with ${server.name} again`);
    }
    expect(seen).toEqual(expected);
    expect(await isAlive()).toBe(true);
    stop.abort();
    await put(`${url}/v1/kv/k`, "end");
    await watching;
  },
  120_000,
);
