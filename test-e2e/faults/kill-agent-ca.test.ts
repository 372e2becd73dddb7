/** DUR-11, shortened: agents and CAs killed under load keep what they acknowledged. */
import { X509Certificate } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { createCsr, generateKey } from "@heddle/tls";
import { expect, test } from "vitest";
import { ask, daemon, freePort, get, put, serve, tempDir } from "./daemon.ts";

const IS_SOAK = process.env.HEDDLE_SOAK_KILLS !== undefined; // tools/soak/kills.sh
const KILLS = Number(process.env.HEDDLE_SOAK_KILLS ?? 8);
const LIFE_MS = IS_SOAK ? { least: 200, most: 1_200 } : { least: 60, most: 300 };

/** Runs loops until the daemon is killed; what fails before that fails the test. */
async function underLoad(loops: ((n: number) => Promise<void>)[], kill: () => Promise<unknown>): Promise<void> {
  let isKilled = false;
  const run = async (step: (n: number) => Promise<void>) => {
    for (let n = 0; ; n++) {
      try {
        await step(n);
      } catch (error) {
        if (!isKilled) throw error;
        return;
      }
    }
  };
  const killing = sleep(LIFE_MS.least + Math.random() * (LIFE_MS.most - LIFE_MS.least)).then(() => {
    isKilled = true;
    return kill();
  });
  await Promise.all([killing, ...loops.map(run)]);
}

test("an agent keeps registrations, TTL states, sidecar ports and its id", {
  timeout: 60_000 + KILLS * 6_000,
}, async () => {
  const [http, server] = [await freePort(), await freePort()];
  const url = `http://127.0.0.1:${http}`;
  const argv = [
    "agent",
    "-server",
    "-bootstrap-expect=1",
    "-bind=127.0.0.1",
    "-node=n1",
    `-data-dir=${tempDir()}`,
    `-http-port=${http}`,
    `-server-port=${server}`,
    "-dns-port=-1",
  ];
  const start = () => daemon(argv, http);
  const acked = new Map<string, number>(); // sidecar and its port
  const removed = new Set<string>();
  const nodeId = async () => (await get(`${url}/v1/agent/self`)).json<{ Config: { NodeID: string } }>().Config.NodeID;

  let agent = await start();
  const id = await nodeId();
  await put(`${url}/v1/agent/service/register`, { Name: "ttl", Check: { TTL: "10m" } });
  expect((await put(`${url}/v1/agent/check/pass/service:ttl?note=fine`)).status).toBe(200);
  for (let round = 0; round < KILLS; round++) {
    const register = async (n: number) => {
      const ID = `s${round}-${n}`;
      const body = { ID, Name: "web", Port: 80, Connect: { SidecarService: {} } };
      expect((await put(`${url}/v1/agent/service/register`, body)).status).toBe(200);
      acked.set(`${ID}-sidecar-proxy`, 0);
      const { Port } = (await get(`${url}/v1/agent/service/${ID}-sidecar-proxy`)).json<{ Port: number }>();
      acked.set(`${ID}-sidecar-proxy`, Port);
      if (n % 3 !== 2) return;
      acked.delete(`${ID}-sidecar-proxy`);
      expect((await put(`${url}/v1/agent/service/deregister/${ID}`)).status).toBe(200);
      removed.add(`${ID}-sidecar-proxy`);
    };
    await underLoad([register], () => agent.end("SIGKILL"));
    agent = await start();
    expect(await nodeId()).toBe(id);
    const services = (await get(`${url}/v1/agent/services`)).json<Record<string, { Port: number }>>();
    for (const [sidecar, port] of acked) {
      expect([sidecar, services[sidecar]?.Port]).toEqual([sidecar, port === 0 ? expect.any(Number) : port]);
      acked.set(sidecar, (services[sidecar] as { Port: number }).Port);
    }
    for (const sidecar of removed) expect([sidecar, services[sidecar]]).toEqual([sidecar, undefined]);
    const taken = Object.values(services)
      .map((s) => s.Port)
      .filter((p) => p >= 21_000);
    expect(new Set(taken).size).toBe(taken.length);
    const checks = (await get(`${url}/v1/agent/checks`)).json<
      Record<string, { Status: string; Output: string; CheckID: string }>
    >();
    expect(checks["service:ttl"]).toMatchObject({ Status: "passing", Output: "fine" });
    // Nobody listens there, so nothing may have come to pass.
    for (const sidecar of acked.keys()) expect(checks[`service:${sidecar}:1`]?.Status).toBe("critical");
  }
  expect(acked.size).toBeGreaterThan(KILLS / 2); // on a machine that does much else
  expect(await agent.end()).toEqual([0, null]);
  console.log(
    `${KILLS} kills of an agent: ${acked.size} sidecars kept, ${removed.size} that were taken away stayed away`,
  );
});

test("a CA keeps its one root, and signs no serial twice", { timeout: 60_000 + KILLS * 6_000 }, async () => {
  const port = await freePort();
  const dataDir = tempDir();
  const start = () => serve("ca", port, `-data-dir=${dataDir}`, "-csr-max-per-second=0");
  const url = `http://127.0.0.1:${port}`;
  // Killed at once, again and again, while it founds its cluster: never half a root, never two.
  for (let round = 0; round < 4; round++) {
    const starting = start().then(
      (ca) => ca.end("SIGKILL"),
      () => {},
    );
    await starting;
  }
  let ca = await start();
  interface Roots {
    ActiveRootID: string;
    TrustDomain: string;
    Roots: { ID: string; Active: boolean; RootCert: string }[];
  }
  const roots = async () => (await get(`${url}/v1/connect/ca/roots`)).json<Roots>();
  const first = await roots();
  const serials = new Set<string>();
  const csr = createCsr({ key: generateKey(), spiffeId: `spiffe://${first.TrustDomain}/ns/default/dc/dc1/svc/web` });
  const root = new X509Certificate(first.Roots[0]?.RootCert ?? "");
  let signed = 0;
  for (let round = 0; round < KILLS; round++) {
    const sign = async () => {
      const answer = await ask(`${url}/internal/v1/ca/sign`, { method: "POST", body: { csr } });
      expect(answer.status).toBe(200);
      const { serial, certPem } = answer.json<{ serial: string; certPem: string }>();
      signed++;
      serials.add(serial);
      if (signed % 50 === 0) expect(new X509Certificate(certPem).verify(root.publicKey)).toBe(true);
    };
    await underLoad([sign, sign, sign, sign], () => ca.end("SIGKILL"));
    ca = await start();
    expect(await roots()).toEqual(first);
    expect(first.Roots.filter((r) => r.Active)).toHaveLength(1);
  }
  expect(signed).toBeGreaterThan(KILLS * 5);
  expect(serials.size).toBe(signed);
  expect(await ca.end()).toEqual([0, null]);
  console.log(`${KILLS} kills of a CA: ${signed} certificates, no serial twice`);
});
