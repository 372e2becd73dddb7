/** The admin socket: what a proxy tells there, who may ask, and that no key is in it. */
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fakeIntention } from "@heddle/intentions/testing";
import { expect, onTestFinished, test } from "vitest";
import { findRunning } from "../src/admin/client.ts";
import type { ConnectionView, InstanceView } from "../src/admin/views.ts";
import { dialApp, freePort, isReady, listeningSockets, startPair, startProxy } from "./harness.ts";

function makeDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "heddle-admin-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

test("it tells status, connections, instances and configuration of all threads, to its user alone", async () => {
  const { agent, publicPort } = await startPair();
  const dead = await freePort();
  const rule = fakeIntention({ SourceName: "web", DestinationName: "db", Action: "allow" });
  agent.change((state) => {
    state.endpoints.db = [{ host: "127.0.0.1", port: publicPort }];
    state.intentions.push(rule);
  });
  const dir = makeDir();
  writeFileSync(join(dir, "proxy-999999999.sock"), ""); // of a process that was killed
  const web = await startProxy(["-service=web", "-upstream=db:0", "-workers=2", `-admin-dir=${dir}`], {
    agent: agent.address,
  });
  await isReady(web);
  const path = join(dir, `proxy-${process.pid}.sock`);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(readdirSync(dir)).toEqual([`proxy-${process.pid}.sock`]);
  const [running] = await findRunning(dir);
  if (!running) throw new Error("no proxy answers");
  const port = web.running.listeners()[0]?.address?.port ?? 0;
  await expect.poll(() => listeningSockets(port), { timeout: 20_000 }).toBe(2);

  expect(running.status).toMatchObject({
    Pid: process.pid,
    Mode: "flags",
    Ready: true,
    Problems: "",
    Agent: { IsUp: true, AwaySeconds: 0 },
    Proxies: [
      {
        Service: "web",
        Listeners: [{ Name: "127.0.0.1:0->service:default/db", Address: `127.0.0.1:${port}`, Error: "" }],
      },
    ],
  });
  expect(new Date(running.status.Proxies[0]?.CertificateUntil ?? 0).getTime()).toBeGreaterThan(Date.now());

  const apps = await Promise.all(Array.from({ length: 40 }, () => dialApp(port)));
  for (const app of apps) app.socket.write("hello");
  await Promise.all(apps.map((app) => app.sawText("hello")));
  const open = await running.get<ConnectionView[]>("/connections");
  expect(open).toHaveLength(40);
  expect(new Set(open.map(({ Thread }) => Thread))).toEqual(new Set([0, 1]));
  expect(open[0]).toMatchObject({
    Direction: "outbound",
    Source: "web",
    Destination: "db",
    Peer: `127.0.0.1:${publicPort}`,
    BytesIn: 5,
    BytesOut: 5,
    TLS: "TLSv1.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768",
  });
  expect(await running.get<ConnectionView[]>("/connections?limit=3")).toHaveLength(3);
  const instances = async () => await running.get<InstanceView[]>("/endpoints");
  expect(await instances()).toMatchObject([
    { Address: `127.0.0.1:${publicPort}`, ID: "db-0", Node: "n1", Active: 40, Failures: 0, LeftOutMs: 0 },
  ]);
  const [again] = await findRunning(dir);
  expect(again?.status.Carried).toMatchObject([{ Inbound: 0, Outbound: 40, TunnelsOut: 2 }]);
  expect(again?.status.Proxies.flatMap(({ Listeners }) => Listeners.map(({ Open }) => Open))).toEqual([40]);

  // An instance that fails is told.
  agent.change((state) => {
    state.endpoints.db = [{ host: "127.0.0.1", port: dead }];
  });
  await expect.poll(async () => (await instances()).map((i) => i.Address)).toEqual([`127.0.0.1:${dead}`]);
  const refused = await Promise.all(Array.from({ length: 10 }, () => dialApp(port)));
  await Promise.all(refused.map((app) => app.ended));
  await expect.poll(async () => (await instances())[0]?.LeftOutMs).toBeGreaterThan(0);

  const config = await running.get<object[]>("/config");
  expect(config).toMatchObject([
    {
      Spec: { service: "web", upstreams: [{ name: "db" }] },
      Leaf: { URI: expect.stringMatching(/\/svc\/web$/) as string },
      Roots: [expect.any(String) as string],
    },
  ]);
  for (const answer of [open, config, again?.status]) expect(JSON.stringify(answer)).not.toMatch(/PRIVATE KEY|keyPem/);
});

test("a folder that others may write to has no socket, and the proxy serves without", async () => {
  const { agent } = await startPair();
  const dir = makeDir();
  const { chmodSync } = await import("node:fs");
  chmodSync(dir, 0o777);
  const web = await startProxy(["-service=web", "-upstream=db:0", `-admin-dir=${dir}`], { agent: agent.address });
  await isReady(web);
  expect((await web.logged("no admin socket")).error).toContain("others may write to the folder");
  expect(readdirSync(dir)).toEqual([]);
});
