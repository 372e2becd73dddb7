/**
 * Leaves that live for a minute (ROT-05): N of them followed for five lives, with the CA away for a fifth of one, and then a rotation. Prints at
 * which share of their life leaves were renewed, and when the old root left the list. Ends with status 1 where a leaf ended in use, was
 * renewed outside of 60 to 90 % of its life while the CA was there, or the old root stayed.
 *
 *     node tools/soak/short-leaves.ts [leaves] [lives]      # 500 5, eight minutes
 */
import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { createApiClient } from "@heddle/api-client";
import { sleep } from "@heddle/daemon";
import { type Bench, onBench, until } from "./support.ts";

const HTTP = 19_720;
const [CATALOG, CA] = [HTTP + 1, HTTP + 2];
const TTL_MS = 60_000;
const AWAY_MS = TTL_MS / 5;
const LATE_MS = 2_000; // a renewal is one when the leaf has come
const [leaves = 500, lives = 5] = process.argv.slice(2).map(Number);
const agent = createApiClient({ address: `127.0.0.1:${HTTP}` });
const ca = createApiClient({ address: `127.0.0.1:${CA}` });
const Config = { LeafCertTTL: `${TTL_MS / 1_000}s`, SkipValidate: true, CSRMaxPerSecond: 0 };

await onBench(run);

async function run(bench: Bench): Promise<boolean> {
  const startCa = () =>
    bench.heddle("serve", "ca", `-port=${CA}`, `-data-dir=${join(bench.dir, "ca")}`, "-log-level=err");
  let authority = startCa();
  bench.heddle("serve", "catalog", `-port=${CATALOG}`, `-ca-url=http://127.0.0.1:${CA}`, "-log-level=err");
  await until(() => configure({}));
  // The first root may have signed leaves of three days, and stays as long: the next one has not.
  await configure({ PrivateKeyType: "ec", PrivateKeyBits: 521 });
  const servers = [`-catalog-addr=http://127.0.0.1:${CATALOG}`, `-ca-addr=http://127.0.0.1:${CA}`];
  const own = [`-http-port=${HTTP}`, `-data-dir=${join(bench.dir, "agent")}`, "-dns-port=-1", "-grpc-port=-1"];
  const limits = "-hcl=limits { http_max_conns_per_client = 50000 }";
  bench.heddle("agent", "-bind=127.0.0.1", "-log-level=err", ...own, ...servers, limits);
  await until(() => agent.get("/v1/agent/connect/ca/roots"));

  const shares: number[] = [];
  let expired = 0;
  let isCounting = true;
  const followed = Array.from({ length: leaves }, (_, i) =>
    follow(`s${i}`, (share) => {
      if (share >= 1) expired++;
      if (isCounting) shares.push(share);
    }),
  );
  await until(async () => followed.every(({ isKnown }) => isKnown()));
  console.log(`${leaves} leaves of ${TTL_MS / 1_000} s followed for ${lives} lives`);
  await sleep((lives - 1) * TTL_MS);
  const killedAt = performance.now();
  authority.kill("SIGKILL");
  isCounting = false; // what should have been renewed now comes late
  await sleep(AWAY_MS);
  authority = startCa();
  await until(() => ca.get("/v1/connect/ca/roots"));
  const awayMs = performance.now() - killedAt; // with its start, which is longer on a busy machine
  await sleep(TTL_MS - AWAY_MS);
  console.log(`the CA was away for ${seconds(awayMs)}; ${expired} leaves ended in use meanwhile`);
  const sorted = shares.toSorted((a, b) => a - b);
  const [first = 0, last = 0] = [sorted[0], sorted.at(-1)];
  console.log(`${shares.length} renewals, between ${percent(first)} and ${percent(last)} of a life`);

  const old = (await roots()).find(({ Active }) => Active)?.ID;
  const rotatedAt = performance.now();
  await configure({ PrivateKeyType: "ec", PrivateKeyBits: 384 });
  const { subject } = new X509Certificate((await roots()).find(({ Active }) => Active)?.RootCert ?? "");
  const before = expired;
  await until(async () => followed.every(({ issuer }) => issuer() === subject));
  console.log(`the last new leaf came ${seconds(performance.now() - rotatedAt)} after the rotation`);
  await until(async () => (await roots()).every(({ ID }) => ID !== old), 3 * TTL_MS);
  const goneMs = performance.now() - rotatedAt;
  console.log(
    `the old root left the list ${seconds(goneMs)} after the rotation; ${expired} leaves ended in use, ${expired - before} of them since`,
  );
  for (const { end } of followed) end();
  const late = LATE_MS / TTL_MS;
  return expired === 0 && first >= 0.6 - late && last <= 0.9 + late && goneMs < 2 * TTL_MS + LATE_MS;
}

interface Leaf {
  CertPEM: string;
  ValidAfter: string;
  ValidBefore: string;
}

/** Follows a leaf as a proxy does, and tells at which share of its life the next one came. */
function follow(service: string, onRenewal: (share: number) => void) {
  let leaf: Leaf | undefined;
  const gone = new AbortController();
  const watch = async () => {
    const path = `/v1/agent/connect/ca/leaf/${service}`;
    for await (const { body } of agent.watch<Leaf>(path, { signal: gone.signal })) {
      if (leaf) {
        const [from, to] = [Date.parse(leaf.ValidAfter), Date.parse(leaf.ValidBefore)];
        onRenewal((Date.now() - from) / (to - from));
      }
      leaf = body;
    }
  };
  watch().catch(() => {});
  return {
    isKnown: () => leaf !== undefined,
    issuer: () => leaf && new X509Certificate(leaf.CertPEM).issuer,
    end: () => gone.abort(),
  };
}

// Declared as functions: the run has begun before these lines are reached.
function configure(more: object): Promise<unknown> {
  return ca.put("/v1/connect/ca/configuration", { body: { Provider: "consul", Config: { ...Config, ...more } } });
}

async function roots() {
  const { body } = await agent.get<{ Roots: { ID: string; Active: boolean; RootCert: string }[] }>(
    "/v1/agent/connect/ca/roots",
  );
  return body.Roots;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
