/**
 * Rotations under load (ROT-01, ROT-05): open connections through two proxies, new ones each second, and leaves that are watched, while the
 * root goes from EC to RSA and back and leaves live for a minute. Prints what failed, and how long it took from a rotation to the
 * last new leaf. Every third rotation is aborted. Ends with status 1 where a connection failed, was cut, or a leaf expired in use.
 *
 *     node tools/soak/rotation.ts [seconds] [open] [new a second] [leaves]      # 600 1000 200 500
 */
import { X509Certificate } from "node:crypto";
import type { ApiClient } from "@heddle/api-client";
import { sleep } from "@heddle/daemon";
import { startPair } from "./pair.ts";
import { type Bench, onBench, until } from "./support.ts";

const START_MS = 60_000;
const LEAF_TTL_S = 60;
const [seconds = 600, open = 1_000, perSecond = 200, leaves = 500] = process.argv.slice(2).map(Number);
const TYPES = [
  { PrivateKeyType: "rsa", PrivateKeyBits: 2048 },
  { PrivateKeyType: "ec", PrivateKeyBits: 384 },
  { PrivateKeyType: "ec", PrivateKeyBits: 256 },
];

await onBench(run);

async function run(bench: Bench): Promise<boolean> {
  const pair = await startPair(bench, 18_620, {
    connect: { ca_config: { leaf_cert_ttl: `${LEAF_TTL_S}s`, skip_validate: true, csr_max_per_second: 0 } },
  });
  const held = await pair.holdAll(open);
  const watches = Array.from({ length: leaves }, (_, i) => watchLeaf(pair, `s${i}`));
  await until(async () => watches.every(({ isKnown }) => isKnown()));
  console.log(
    `${held.length} connections open, ${perSecond} new a second, ${leaves} leaves of ${LEAF_TTL_S} s watched`,
  );
  const load = pair.load(perSecond);
  const endAt = performance.now() + seconds * 1_000;
  for (let i = 0; performance.now() < endAt; i++) {
    await sleep(Math.min(30_000, endAt - performance.now()));
    const type = TYPES[i % TYPES.length] as (typeof TYPES)[number];
    console.log(`${await rotate(pair.api, watches, type)}; ${load.made()} connections so far`);
    if (i % 3 === 1) console.log(await abort(pair.api, watches));
  }
  load.stop();
  await sleep(1_000); // what is under way
  return pair.isGood(held);
}

/** As its operator ends the one that is under way: the root before signs again. */
async function abort(api: ApiClient, watches: LeafWatch[]): Promise<string> {
  const startedAt = performance.now();
  await api.put("/v1/connect/ca/abort", { timeoutMs: START_MS });
  const { subject } = new X509Certificate(await activeRoot(api));
  await until(async () => watches.every(({ issuer }) => issuer() === subject));
  return `aborted: last of ${leaves} leaves of the root before after ${Math.round(performance.now() - startedAt)} ms`;
}

async function rotate(api: ApiClient, watches: LeafWatch[], type: (typeof TYPES)[number]): Promise<string> {
  const Config = { LeafCertTTL: `${LEAF_TTL_S}s`, SkipValidate: true, CSRMaxPerSecond: 0, ...type };
  const startedAt = performance.now();
  const since = () => Math.round(performance.now() - startedAt);
  await api.put("/v1/connect/ca/configuration", { body: { Provider: "consul", Config }, timeoutMs: START_MS });
  const switchedMs = since();
  const { subject } = new X509Certificate(await activeRoot(api));
  await until(async () => watches.every(({ issuer }) => issuer() === subject));
  const lastMs = since();
  await sleep(3_000); // what agents tell of it comes each second
  const { Following } = (await api.get<{ Following: object }>("/v1/connect/ca/status", { timeoutMs: START_MS })).body;
  const root = `root ${type.PrivateKeyType} ${type.PrivateKeyBits}`;
  return `${root}: switched after ${switchedMs} ms, last of ${leaves} new leaves after ${lastMs} ms; ${JSON.stringify(Following)}`;
}

async function activeRoot(api: ApiClient): Promise<string> {
  type Roots = { Roots: { Active: boolean; RootCert: string }[] };
  const { body } = await api.get<Roots>("/v1/connect/ca/roots", { timeoutMs: START_MS });
  return body.Roots.find(({ Active }) => Active)?.RootCert ?? "";
}

type LeafWatch = ReturnType<typeof watchLeaf>;

/** Follows a leaf as a proxy does. */
function watchLeaf({ api, failed }: Awaited<ReturnType<typeof startPair>>, service: string) {
  type Leaf = { CertPEM: string; ValidBefore: string };
  let leaf: Leaf | undefined;
  const signal = AbortSignal.timeout(seconds * 1_000 + 4 * START_MS);
  const follow = async () => {
    for await (const { body } of api.watch<Leaf>(`/v1/agent/connect/ca/leaf/${service}`, { signal })) {
      if (leaf && Date.parse(leaf.ValidBefore) < Date.now()) failed("a leaf expired in use");
      leaf = body;
    }
  };
  follow().catch(() => {});
  return { isKnown: () => leaf !== undefined, issuer: () => leaf && new X509Certificate(leaf.CertPEM).issuer };
}
