/** Moving a mesh: from a data directory to a real etcd and back, and from a real Consul. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCa } from "@heddle/ca";
import { createRegistry, silentLog } from "@heddle/daemon";
import { openStore, type Store } from "@heddle/store";
import { hasEtcd, startEtcd } from "@heddle/store/testing";
import { afterAll, describe, expect, it } from "vitest";
import { CONSUL, heddle, startConsul, startHeddle } from "./harness.ts";

const dir = mkdtempSync(join(tmpdir(), "heddle-move-"));
afterAll(() => rmSync(dir, { recursive: true }));

describe.runIf(hasEtcd)("heddle operator migrate", () => {
  it("moves everything to etcd and back, with its indexes, and seals the CA's keys on the way", async () => {
    await using etcd = await startEtcd();
    const [from, back] = [join(dir, "from"), join(dir, "back")];
    const host = new URL(etcd.endpoints[0] as string).host;
    const settings = { endpoints: etcd.endpoints, root: "mesh", tls: undefined, user: undefined };
    const key = join(dir, "ca.key");
    writeFileSync(key, randomBytes(32).toString("base64"), { mode: 0o600 });
    let before: ReturnType<Store["snapshot"]>;
    {
      await using store = await openStore({ dataDir: from, name: "catalog", log: silentLog });
      for (let i = 0; i < 500; i++)
        await store.run(() => ({ writes: [{ table: "kv", key: `k${i % 400}`, value: { Value: `${i}` } }], result: 0 }));
      before = store.snapshot();
      const ca = await openStore({ dataDir: from, name: "ca", log: silentLog });
      await (await createCa({ store: ca, datacenter: "dc1", registry: createRegistry("ca"), log: silentLog })).close();
    }
    const migrate = (source: string, target: string, ...more: string[]) =>
      heddle(["operator", "migrate", `-from=${source}`, `-to=${target}`, ...more]);
    const there = `etcd://${host}/mesh`;
    expect(await migrate(`sqlite:${from}`, there)).toMatchObject({
      status: 1,
      err: expect.stringContaining("refusing to keep the CA's keys in etcd in plain") as string,
    });
    const moved = await migrate(`sqlite:${from}`, there, `-ca-encryption-key=file:${key}`);
    expect(moved).toMatchObject({ status: 0, err: "" });
    expect(moved.out).toMatch(/^catalog: 400 records to index \d+, sha256 [0-9a-f]{32} on both sides$/m);
    {
      await using store = await openStore({ dataDir: "", etcd: settings, name: "catalog", log: silentLog });
      expect(store.list("kv")).toMatchObject(before.records);
      // An index that a client of the old place holds is one from before everything that happens here.
      expect(store.revision).toBeGreaterThan(before.revision);
      await store.join({ id: "1", name: "server1", address: "", version: "", startedAt: 0 });
      expect(await migrate(there, `sqlite:${back}`)).toMatchObject({
        status: 1,
        err: expect.stringContaining("server1 still runs on etcd://") as string,
      });
    }
    expect((await migrate(`sqlite:${from}`, there, `-ca-encryption-key=file:${key}`)).err).toContain(
      "there are 400 records of the catalog already: -force replaces them",
    );
    const returned = await migrate(there, `sqlite:${back}`, `-ca-encryption-key=file:${key}`);
    expect(returned).toMatchObject({ status: 0, err: "" });
    await using store = await openStore({ dataDir: back, name: "catalog", log: silentLog });
    expect(store.snapshot().records).toEqual(before.records);
    await using ca = await openStore({ dataDir: back, name: "ca", log: silentLog });
    expect(JSON.stringify(ca.snapshot().records)).not.toContain("PRIVATE KEY");
  }, 60_000);
});

describe.runIf(existsSync(CONSUL))("heddle import consul (needs consul)", () => {
  it("brings what a real Consul holds, and follows it with -watch", async () => {
    await using source = await startConsul();
    if (!source) return;
    await using target = await startHeddle();
    const env = { CONSUL_HTTP_ADDR: target.url };
    const api = async (base: string, method: string, path: string, body?: unknown) => {
      const sent = typeof body === "string" ? body : JSON.stringify(body);
      const res = await fetch(base + path, { method, ...(body !== undefined && { body: sent }) });
      const text = await res.text();
      expect([method, path, res.status, text]).toEqual([
        method,
        path,
        expect.toSatisfy((s) => s === 200 || s === 404),
        text,
      ]);
      return res.status === 404 ? undefined : (JSON.parse(text) as unknown);
    };
    const there = (method: string, path: string, body?: unknown) => api(source.url, method, path, body);
    const here = (path: string) => api(target.url, "GET", path);
    const strip = (value: unknown): unknown =>
      JSON.parse(
        JSON.stringify(value, (name, v: unknown) =>
          /^(?:ID|CreateIndex|ModifyIndex|CreatedAt|UpdatedAt|Hash|LockIndex|RaftIndex|Precedence|DefaultAddr|DefaultPort)$/.test(
            name,
          )
            ? undefined
            : v,
        ),
      );
    await there("PUT", "/v1/catalog/register", {
      ...{ Node: "db1", Address: "10.1.2.3", NodeMeta: { rack: "7" } },
      Service: { ID: "pg-1", Service: "pg", Port: 5432, Tags: ["primary"], Meta: { v: "16" } },
      Check: { CheckID: "pg", Name: "pg up", ServiceID: "pg-1", Status: "passing" },
    });
    await there("PUT", "/v1/kv/app/config?flags=18446744073709551615", "x = ä");
    await there("PUT", "/v1/kv/app/empty", "");
    await there("PUT", "/v1/config", { Kind: "service-defaults", Name: "web", Protocol: "http" });
    await there("PUT", "/v1/config", { Kind: "service-resolver", Name: "web", ConnectTimeout: "3s" });
    const rule = { SourceName: "web", DestinationName: "pg", Action: "allow", Description: "reads" };
    await there("POST", "/v1/connect/intentions", rule);
    const { ID } = (await there("POST", "/v1/connect/intentions", { ...rule, SourceName: "*", Action: "deny" })) as {
      ID: string;
    };
    await there("POST", "/v1/query", { Name: "near", Service: { Service: "pg", OnlyPassing: true } });

    const imported = await heddle(["import", "consul", source.url], { env });
    expect(imported).toMatchObject({ status: 0, err: "" });
    expect(imported.out).toMatch(/^kv: 2 found, 2 written$/m);
    for (const path of [
      ...["/v1/catalog/service/pg", "/v1/health/node/db1", "/v1/kv/?recurse", "/v1/config/service-defaults"],
      ...["/v1/config/service-resolver", "/v1/connect/intentions", "/v1/query"],
    ])
      expect(strip(await here(path)), path).toEqual(strip(await there("GET", path)));

    const stop = new AbortController();
    let said = "";
    const watching = heddle(["import", "consul", "-watch", source.url], {
      ...{ env, interrupted: stop.signal },
      onOut: (text) => (said = text),
    });
    await expect.poll(() => said).toContain("Following Consul");
    await there("PUT", "/v1/kv/app/new", "later");
    await there("DELETE", "/v1/kv/app/empty");
    await there("PUT", "/v1/catalog/deregister", { Node: "db1", ServiceID: "pg-1" });
    await there("DELETE", `/v1/connect/intentions/${ID}`);
    const keys = () => here("/v1/kv/?keys");
    await expect.poll(keys).toEqual(["app/config", "app/new"]);
    await expect.poll(() => here("/v1/catalog/service/pg")).toEqual([]);
    await expect.poll(() => here("/v1/connect/intentions")).toHaveLength(1);
    stop.abort();
    expect((await watching).status).toBe(0);
  }, 60_000);
});
