import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRegistry, silentLog } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { openStore } from "@heddle/store";
import type { RevocationsAnswer } from "@heddle/tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createCa, type Ca } from "../src/index.ts";
import { startCa, type TestCa } from "./harness.ts";

const LIST = "/v1/connect/ca/revocations";
const REVOKE = "/v1/connect/ca/revoke";
const REINSTATE = "/v1/connect/ca/reinstate";
const HOUR_MS = 3_600_000;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "heddle-ca-revocation-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const file = (name: string, content: string | Uint8Array): string => {
  writeFileSync(join(dir, name), content);
  return join(dir, name);
};

async function leafOf(ca: TestCa, service: string) {
  const { status, json } = await ca.sign(await ca.requestFor(service));
  expect(status).toBe(200);
  return json() as { certPem: string; serial: string; notBefore: string; notAfter: string };
}

async function revoke(ca: TestCa, body: object) {
  const { status, text, json } = await ca.ask("PUT", REVOKE, body);
  expect([status, text]).toEqual([200, expect.any(String)]);
  return json() as { SerialNumber: string; Service: string; RevokedAt: string; ExpiresAt: string | null };
}

const list = async (ca: TestCa) => (await ca.ask("GET", LIST)).json() as RevocationsAnswer;

describe("a certificate that is revoked", () => {
  it("is in the list, with its service and its end, and wakes who waits for it", async () => {
    await using ca = await startCa();
    const { serial, notAfter } = await leafOf(ca, "web");
    const before = await ca.ask("GET", LIST);
    expect(before.json()).toEqual({ Serials: [], Services: [], Nodes: [] });
    const index = Number(before.headers.get("x-consul-index"));
    expect(index).toBeGreaterThan(0);
    const waiting = ca.ask("GET", `${LIST}?index=${index}&wait=60s`);
    const entry = await revoke(ca, { SerialNumber: serial, Reason: "key on a lost laptop" });
    expect(entry).toMatchObject({ SerialNumber: serial, Service: "web", Reason: "key on a lost laptop" });
    expect(Date.parse(entry.ExpiresAt as string)).toBe(Date.parse(notAfter) + HOUR_MS);
    const woken = await waiting;
    expect(woken.json()).toEqual({ Serials: [entry], Services: [], Nodes: [] });
    expect(Number(woken.headers.get("x-consul-index"))).toBeGreaterThan(index);
  });

  it("may be named by itself, by its digits in any form, or by one that the CA does not remember", async () => {
    await using ca = await startCa();
    const { certPem, serial } = await leafOf(ca, "web");
    expect(await revoke(ca, { Certificate: certPem })).toMatchObject({ SerialNumber: serial, Service: "web" });
    await revoke(ca, { SerialNumber: serial.replaceAll(":", "").toUpperCase() });
    expect((await list(ca)).Serials).toHaveLength(1);
    const unknown = await revoke(ca, { SerialNumber: "0a:0b" });
    expect(unknown).toMatchObject({ SerialNumber: "0a:0b", Service: "" });
    // The longest that it may live: 72 h from now, and an hour for clocks that are behind.
    expect(Date.parse(unknown.ExpiresAt as string)).toBeGreaterThan(Date.now() + 72.9 * HOUR_MS);
  });

  it.each([
    [{}, "want exactly one of SerialNumber, Certificate and Service"],
    [{ Service: "web", SerialNumber: "01" }, "want exactly one of"],
    [{ SerialNumber: "zz" }, "SerialNumber 'zz': want up to 20 bytes in hexadecimal"],
    [{ SerialNumber: "01".repeat(21) }, "want up to 20 bytes"],
    [{ Service: "we b" }, "Service 'we b': want a service's name"],
    [{ Service: "web", Reason: "a\nb" }, "Reason: want at most 256 printable characters"],
    [{ Certificate: "x" }, "Certificate: certificate: want PEM blocks"],
    [{ Serial: "01" }, 'unknown field "Serial"'],
  ])("is not %j", async (body, why) => {
    await using ca = await startCa();
    const { status, text } = await ca.ask("PUT", REVOKE, body);
    expect([status, text]).toEqual([400, expect.stringContaining(why)]);
    expect(await list(ca)).toEqual({ Serials: [], Services: [], Nodes: [] });
  });

  it("is not one of another mesh", async () => {
    await using ca = await startCa();
    await using other = await startCa();
    const { certPem } = await leafOf(other, "web");
    const { status, text } = await ca.ask("PUT", REVOKE, { Certificate: certPem });
    expect([status, text]).toEqual([400, expect.stringContaining("nobody in this mesh trusts it")]);
  });

  it("is known after a restart, and leaves the list when it has expired", async () => {
    const dataDir = join(dir, "data");
    const first = await startCa({ dataDir });
    const { serial } = await leafOf(first, "web");
    const entry = await revoke(first, { SerialNumber: serial });
    const index = Number((await first.ask("GET", LIST)).headers.get("x-consul-index"));
    await first.close();

    const clock = new ManualClock(Date.now());
    await using ca = await openCa(dataDir, clock);
    expect(await listOf(ca)).toEqual({ Serials: [entry], Services: [], Nodes: [] });
    clock.advance(73 * HOUR_MS);
    await expect.poll(() => listOf(ca)).toEqual({ Serials: [], Services: [], Nodes: [] });
    expect(indexOf(ca)).toBeGreaterThan(index);
  });

  it("is in a revocation list that openssl believes", async () => {
    await using ca = await startCa();
    const [bad, good] = [await leafOf(ca, "web"), await leafOf(ca, "web")];
    const root = file("root.pem", (await ca.ask("GET", "/v1/connect/ca/roots?pem=true")).text);
    const verify = (leaf: { certPem: string }, crl: string) => {
      const args = ["verify", "-x509_strict", "-crl_check", "-CAfile", root, "-CRLfile", crl];
      try {
        return execFileSync("openssl", [...args, file("leaf.pem", leaf.certPem)], { encoding: "utf8", stdio: "pipe" });
      } catch (error) {
        return String((error as { stderr: unknown }).stderr);
      }
    };
    const crl = async () => file("crl.pem", (await ca.ask("GET", "/v1/connect/ca/crl?pem=true")).text);
    expect(verify(bad, await crl())).toContain(": OK");
    await revoke(ca, { SerialNumber: bad.serial });
    const now = await crl();
    expect(verify(bad, now)).toContain("certificate revoked");
    expect(verify(good, now)).toContain(": OK");
    const der = Buffer.from(await (await fetch(`${ca.url}/v1/connect/ca/crl`)).arrayBuffer());
    const args = ["crl", "-inform", "DER", "-in", file("crl.der", der), "-noout", "-text"];
    const text = execFileSync("openssl", args, { encoding: "utf8" });
    expect(text).toContain(`Serial Number: ${bad.serial.replaceAll(":", "").toUpperCase()}`);
  });
});

describe("a service that is revoked", () => {
  it("gets no certificate until it is let in again, and then only those that come after count", async () => {
    await using ca = await startCa();
    const request = await ca.requestFor("web");
    const old = await leafOf(ca, "web");
    await revoke(ca, { Service: "web", Reason: "compromised" });
    const refused = await ca.sign(request);
    expect(refused.status).toBe(403);
    expect(refused.text).toMatch(/service 'web' was revoked at \S+: compromised/);
    await leafOf(ca, "api");

    const { status, json } = await ca.ask("PUT", REINSTATE, { Service: "web" });
    expect(status).toBe(200);
    const [entry] = (await list(ca)).Services;
    expect(json()).toEqual(entry);
    expect(entry).toMatchObject({ Service: "web", Reinstated: true });
    const cutOff = Date.parse(entry?.RevokedAt as string);
    expect(Date.parse(old.notBefore)).toBeLessThanOrEqual(cutOff);
    expect(Date.parse((await leafOf(ca, "web")).notBefore)).toBeGreaterThan(cutOff);
  });

  it("cannot be let in where it is not revoked", async () => {
    await using ca = await startCa();
    const { status, text } = await ca.ask("PUT", REINSTATE, { Service: "web" });
    expect([status, text]).toEqual([404, "service 'web' is not revoked"]);
    expect((await ca.ask("PUT", REINSTATE, {})).status).toBe(400);
  });

  it("is remembered for ever, and forgotten after it was let in and its old certificates have expired", async () => {
    const clock = new ManualClock(Date.now());
    await using ca = await openCa(join(dir, "data"), clock);
    await put(ca, REVOKE, { Service: "web" });
    clock.advance(10_000 * HOUR_MS);
    expect((await listOf(ca)).Services).toHaveLength(1);
    await put(ca, REINSTATE, { Service: "web" });
    clock.advance(72 * HOUR_MS);
    expect((await listOf(ca)).Services).toHaveLength(1);
    clock.advance(2 * HOUR_MS);
    await expect.poll(() => listOf(ca)).toEqual({ Serials: [], Services: [], Nodes: [] });
  });
});

async function openCa(dataDir: string, clock: ManualClock): Promise<Ca> {
  const store = await openStore({ dataDir, name: "ca", log: silentLog });
  return createCa({ store, datacenter: "dc1", registry: createRegistry("ca"), clock, log: silentLog });
}

const listOf = async (ca: Ca): Promise<RevocationsAnswer> => ca.revocations.list.answer;
const indexOf = (ca: Ca): number => ca.revocations.index;
const put = (ca: Ca, path: string, { Service }: { Service: string }) =>
  path === REVOKE ? ca.revocations.revoke({ service: Service }) : ca.revocations.reinstate(Service);
