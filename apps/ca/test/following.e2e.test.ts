/** Agents tell how far their proxies follow a rotation; one that is not followed is taken back by itself. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogHub, createRegistry, type LogEntry } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { openStore } from "@heddle/store";
import { describe, expect, it, onTestFinished } from "vitest";
import { type Ca, createCa } from "../src/index.ts";
import { startCa } from "./harness.ts";

const MINUTE_MS = 60_000;

async function open(initialConfig: Record<string, unknown> = {}) {
  const clock = new ManualClock(Date.now());
  const hub = createLogHub({ write: () => {} });
  const logs: LogEntry[] = [];
  hub.tap("info", (entry) => logs.push(entry));
  const store = await openStore({ dataDir: "", name: "ca", log: hub.log });
  const options = { store, datacenter: "dc1", initialConfig, registry: createRegistry("ca"), clock, log: hub.log };
  const ca = await createCa(options);
  onTestFinished(() => ca.close());
  const server = createServer((req, res) => void ca.internal(req, res)).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/internal/v1/ca/progress`;
  /** As an agent of ten proxies does: so many of them trust the root that it knows, and have its leaves. */
  const report = async (node: string, root: string, share: number) => {
    const counts = { proxies: 10, trusting: share, leaves: 10, renewed: share };
    const answer = await fetch(url, { method: "PUT", body: JSON.stringify({ node, root, ...counts }) });
    expect(answer.status).toBe(200);
  };
  const active = () => ca.authority.activeRoot.id;
  const rotate = () =>
    ca.authority.configure("consul", { ...initialConfig, PrivateKeyType: "ec", PrivateKeyBits: 384 }, false);
  /** A minute at a time, with an agent's report in each. */
  const pass = async (minutes: number, tell: () => Promise<void>) => {
    for (let i = 0; i < minutes; i++) {
      await tell();
      clock.advance(MINUTE_MS);
      await new Promise(setImmediate);
    }
  };
  const logged = (sentence: string) => logs.find((entry) => entry.sentence === sentence)?.fields;
  return { ca, url, clock, report, active, rotate, pass, logged, logs };
}

describe("an old root", () => {
  const LIFE_MS = 3_600_000;
  const minutesLeft = (ca: Ca, clock: ManualClock) => {
    const { removeAt = 0 } = ca.authority.roots().find(({ value }) => !value.isActive)?.value ?? {};
    return Math.ceil((removeAt - clock.now()) / MINUTE_MS);
  };

  it("leaves when its leaves have ended and all proxies that are heard of trust the new one", async () => {
    const { ca, clock, report, active, rotate, pass, logs } = await open({ LeafCertTTL: "1h" });
    const ids = () => ca.authority.roots().map(({ key }) => key);
    await rotate();
    expect(minutesLeft(ca, clock)).toBe((2 * LIFE_MS) / MINUTE_MS);
    await pass(119, () => report("n1", active(), 9));
    expect(ids()).toHaveLength(2);
    // One of its proxies does not know the new root: it trusts leaves by the old one alone.
    await pass(30, () => report("n1", active(), 9));
    expect(ids()).toHaveLength(2);
    const told = logs.filter(({ sentence }) => sentence.startsWith("an old root stays"));
    expect(told).toMatchObject([
      { level: "warn", fields: { proxies: "9 of 10", waits_for: expect.stringMatching(/^n1, /) as string } },
    ]);
    await pass(1, () => report("n1", active(), 10));
    await expect.poll(ids).toEqual([active()]);
  });

  it("is not kept for ever by a proxy that never comes to trust the new one, nor by an agent that is gone", async () => {
    const { ca, report, active, rotate, pass, logged } = await open({ LeafCertTTL: "1h" });
    const ids = () => ca.authority.roots().map(({ key }) => key);
    await rotate();
    await pass(239, () => report("n1", active(), 9));
    expect(ids()).toHaveLength(2);
    await pass(1, () => report("n1", active(), 9));
    await expect.poll(ids).toEqual([active()]);
    expect(logged("an old root goes though proxies that are heard of do not trust the new one")).toMatchObject({
      waits_for: expect.stringMatching(/^n1, /) as string,
    });

    const other = await open({ LeafCertTTL: "1h" });
    await other.rotate();
    await other.report("n1", other.active(), 9);
    await other.pass(120, async () => {});
    await expect.poll(() => other.ca.authority.roots()).toHaveLength(1);
  });
});

describe("a rotation", () => {
  it("that proxies do not follow is taken back after its time, once, and said why", async () => {
    const { ca, report, active, rotate, pass, logged } = await open();
    const old = active();
    await report("n1", old, 10);
    await rotate();
    const next = active();
    expect(next).not.toBe(old);
    await pass(9, () => report("n1", next, 2));
    expect(active()).toBe(next);
    await pass(3, () => report("n1", next, 2));
    await expect.poll(active).toBe(old);
    expect(logged("proxies do not follow the new root: going back to the one before")).toMatchObject({
      root: next,
      followed: "20 %",
      proxies: "2 of 10",
      leaves: "2 of 10",
      waits_for: expect.stringMatching(/^n1, /),
    });
    // Where nobody follows the way back either, it ends there.
    await pass(30, () => report("n1", next, 10));
    expect(active()).toBe(old);
    expect(ca.authority.activeRoot.isRolledBack).toBe(true);
  });

  it("that most follow goes on, with the few that are behind told of", async () => {
    const { report, active, rotate, pass, logged } = await open();
    await rotate();
    const next = active();
    await pass(30, async () => {
      await report("n1", next, 10);
      await report("n2", next, 10);
      await report("n3", "an old root", 10);
    });
    expect(active()).toBe(next);
    expect(logged("proxies have not all followed the new root yet")).toMatchObject({
      followed: "66 %",
      waits_for: expect.stringMatching(/^n3, /),
    });
  });

  it("that is followed slowly has time, as long as more and more do", async () => {
    const { report, active, rotate, pass } = await open();
    await rotate();
    const next = active();
    let share = 0;
    await pass(27, () => report("n1", next, Math.floor(share++ / 9)));
    expect(active()).toBe(next);
  });

  it("is left alone where nobody reports, where a node has gone, and with RotationTimeout 0", async () => {
    const silent = await open();
    await silent.rotate();
    const next = silent.active();
    await silent.report("n1", next, 0);
    await silent.pass(30, async () => {});
    expect(silent.active()).toBe(next);

    const off = await open({ RotationTimeout: "0s" });
    await off.rotate();
    const other = off.active();
    await off.pass(30, () => off.report("n1", other, 0));
    expect(off.active()).toBe(other);
  });

  it("that was gone back from by hand past two thirds of a root's life is not made again at once", async () => {
    const { ca, clock, active, pass } = await open({ RootCertTTL: "2160h", LeafCertTTL: "720h" });
    const old = active();
    clock.advance(61 * 86_400_000);
    await expect.poll(active).not.toBe(old);
    await ca.authority.rollBack("asked for");
    await pass(10, async () => {});
    expect(active()).toBe(old);
    clock.advance(86_400_000);
    await expect.poll(active).not.toBe(old);
  });
});

it.each([
  [{}, "proxies: want a number from 0"],
  [{ node: "n1", root: "r", proxies: -1, trusting: 0, leaves: 0, renewed: 0 }, "proxies: want a number from 0"],
  [{ node: "n\n1", root: "r", proxies: 0, trusting: 0, leaves: 0, renewed: 0 }, "node: want text"],
])("a report is not %j", async (body, why) => {
  const { url } = await open();
  const answer = await fetch(url, { method: "PUT", body: JSON.stringify(body) });
  expect([answer.status, await answer.text()]).toEqual([400, expect.stringContaining(why)]);
});

it.each([
  ["ahead", 10 * MINUTE_MS],
  ["behind", -10 * MINUTE_MS],
])("an agent whose clock is ten minutes %s is told so, and the CA tells its operator, once", async (_way, aheadMs) => {
  const { url, clock, active, logs } = await open();
  const report = async (node: string, at: number) => {
    const body = JSON.stringify({ node, root: active(), proxies: 0, trusting: 0, leaves: 0, renewed: 0, at });
    return (await fetch(url, { method: "PUT", body })).json();
  };
  expect(await report("n2", clock.now() + 29_000)).toEqual({ clockAheadMs: 29_000, allowedMs: 30_000 });
  for (let i = 0; i < 3; i++)
    expect(await report("n1", clock.now() + aheadMs)).toEqual({ clockAheadMs: aheadMs, allowedMs: 30_000 });
  const told = () => logs.filter(({ sentence }) => sentence.startsWith("an agent's clock"));
  expect(told()).toMatchObject([
    { level: "warn", fields: { agent: expect.stringMatching(/^n1, /) as string, ahead_ms: aheadMs } },
  ]);
  await report("n1", clock.now());
  expect(told().at(-1)).toMatchObject({ level: "info", sentence: expect.stringContaining("together again") as string });
});

it("openssl's strict verifier judges before the switch: a root without key usage is refused", async () => {
  await using ca = await startCa();
  const dir = mkdtempSync(join(tmpdir(), "heddle-ca-strict-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const [key, cert] = [join(dir, "key.pem"), join(dir, "cert.pem")];
  const made = [
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-keyout",
    key,
    "-out",
    cert,
  ];
  const san = `subjectAltName=URI:spiffe://${await ca.trustDomain()}`;
  execFileSync("openssl", [...made, "-subj", "/CN=vague", "-days", "3650", "-addext", san], { stdio: "pipe" });
  const Config = { RootCert: readFileSync(cert, "utf8"), PrivateKey: readFileSync(key, "utf8") };
  const { status, text } = await ca.ask("PUT", "/v1/connect/ca/configuration", { Provider: "consul", Config });
  expect([status, text]).toEqual([
    500,
    expect.stringContaining("openssl refuses a leaf of the new root: CA cert does not include key usage"),
  ]);
});
