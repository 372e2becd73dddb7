/**
 * Any one server killed under load, by hand: `node tools/soak/failover.ts [rounds]`, a minute and a half a round. Three etcd, three catalogs
 * and two CAs; 500 writes/s, 2,000 blocking queries, 20 signatures/s; each of the eight servers is killed with SIGKILL and started again.
 * Asked for: writes resume within 2 s, certificates, too; each watcher's story has every acknowledged value, in order; no serial twice.
 */
import type { ChildProcess } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { Agent, request } from "node:http";
import { sleep } from "@heddle/daemon";
import { freePort } from "@heddle/daemon/testing";
import { startEtcd } from "@heddle/store/testing";
import { createCsr, generateKey } from "@heddle/tls";
import { onBench, until } from "./support.ts";

const ROUNDS = Number(process.argv[2] ?? 1);
const RESUME_MS = 2_000;
const WRITES_PER_S = 500;
const SIGNATURES_PER_S = 20;
/** Each is followed by twenty watchers and written every ten seconds: no two values of one are on their way at once. */
const WATCHED = 100;
const WATCHERS = 2_000;
const WATCHED_EVERY_MS = 100;
const DOWN_MS = 4_000;
const QUIET_MS = 3_000;
/** A client leaves a server that does not answer for so long. */
const PATIENCE_MS = 3_000;

interface Answer {
  status: number;
  index: number;
  text: string;
}

const calls = new Agent({ keepAlive: true, maxSockets: 512 });
const watching = new Agent({ keepAlive: true, maxSockets: WATCHERS });

function ask(method: string, url: string, body = "", agent = calls, timeoutMs = PATIENCE_MS): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request(url, { method, agent, headers: { "Content-Length": Buffer.byteLength(body) } }, (res) => {
      let text = "";
      res.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      res.on("end", () => resolve({ status: res.statusCode ?? 0, index: Number(res.headers["x-consul-index"]), text }));
      res.on("error", reject);
    });
    req.setTimeout(timeoutMs, () => req.destroy(new Error("too late")));
    req.on("error", reject);
    req.end(body);
  });
}

/** Clients know all servers and not which of them live: they go on to another where one does not answer. */
function clientOf(urls: readonly string[], at: number, agent = calls) {
  let current = at % urls.length;
  return async (method: string, path: string, body = "", timeoutMs = PATIENCE_MS): Promise<Answer | undefined> => {
    const server = current;
    const answer = await ask(method, `${urls[server]}${path}`, body, agent, timeoutMs).catch(() => undefined);
    if (answer && answer.status < 500) return answer;
    // Not all to the same one: a catalog takes 2,000 connections of one address.
    if (current === server) current = (server + 1 + Math.floor(Math.random() * (urls.length - 1))) % urls.length;
    return undefined;
  };
}

const valueOf = ({ text }: Answer): number =>
  Number(Buffer.from((JSON.parse(text) as [{ Value: string }])[0].Value, "base64").toString());

/** What was acknowledged of each watched key, and when. */
type Written = Map<number, number>[];

/** Writes a key until that is acknowledged, by compare-and-set: what a killed server had sent on must not come after what follows. */
async function writeWatched(key: number, value: number, client: ReturnType<typeof clientOf>): Promise<void> {
  for (let isFirst = true; ; isFirst = false) {
    const now = await client("GET", `/v1/kv/w${key}?consistent`);
    if (now?.status !== 200 && now?.status !== 404) continue;
    if (!isFirst && now.status === 200 && valueOf(now) === value) return;
    const index = now.status === 200 ? (JSON.parse(now.text) as [{ ModifyIndex: number }])[0].ModifyIndex : 0;
    const put = await client("PUT", `/v1/kv/w${key}?cas=${index}`, `${value}`);
    if (put?.text.trim() === "true") return;
  }
}

interface Watcher {
  key: number;
  /** Each value once, in the order in which it was told. */
  story: { value: number; at: number }[];
  /** How often an answer had a lower index than the one before. */
  lower: number;
}

async function watch(watcher: Watcher, urls: readonly string[], n: number, stop: AbortSignal): Promise<void> {
  const client = clientOf(urls, n, watching);
  let index = 0;
  while (!stop.aborted) {
    const answer = await client("GET", `/v1/kv/w${watcher.key}?index=${index}&wait=30s`, "", 40_000);
    if (answer?.status !== 200) {
      await sleep(20);
      continue;
    }
    if (answer.index < index) watcher.lower++;
    index = answer.index;
    const value = valueOf(answer);
    if (watcher.story.at(-1)?.value !== value) watcher.story.push({ value, at: performance.now() });
  }
}

/** What is wrong with a watcher's story; undefined where it has everything, in order. */
function problemOf({ key, story }: Watcher, written: Written): string | undefined {
  for (const [i, { value }] of story.entries())
    if (i > 0 && value <= (story[i - 1]?.value ?? 0)) return `w${key}: ${value} came after ${story[i - 1]?.value}`;
  const seen = new Set(story.map(({ value }) => value));
  const missed = [...(written[key] as Map<number, number>).keys()].filter((value) => !seen.has(value));
  return missed.length > 0 ? `w${key}: never told of ${missed.join(", ")}` : undefined;
}

const longest = (times: readonly number[]): number =>
  Math.max(0, ...times.slice(1).map((at, i) => at - (times[i] as number)));

await onBench(async ({ heddle }) => {
  process.env.CA_KEY = Buffer.alloc(32, 7).toString("base64");
  await using etcd = await startEtcd({ members: 3 });
  const ports = await Promise.all(Array.from({ length: 5 }, () => freePort()));
  const urls = ports.map((port) => `http://127.0.0.1:${port}`);
  const [catalogs, cas] = [urls.slice(0, 3), urls.slice(3)];
  const store = `-store=etcd://${etcd.endpoints.map((url) => new URL(url).host).join(",")}/failover`;
  const launch = (i: number): ChildProcess =>
    i < 3
      ? heddle("serve", "catalog", `-port=${ports[i]}`, `-node=s${i}`, store, `-ca-url=${cas.join(",")}`)
      : heddle("serve", "ca", `-port=${ports[i]}`, store, "-encryption-key=env:CA_KEY", "-csr-max-per-second=0");
  const servers = urls.map((_, i) => launch(i));
  const serves = (i: number) =>
    until(async () => {
      const path = i < 3 ? "/v1/status/leader" : "/v1/connect/ca/roots";
      return (await ask("GET", `${urls[i]}${path}`)).status === 200;
    });
  await Promise.all(urls.map((_, i) => serves(i)));

  const [stopWriting, stop] = [new AbortController(), new AbortController()];
  const written: Written = Array.from({ length: WATCHED }, () => new Map<number, number>());
  for (let key = 0; key < WATCHED; key++) await ask("PUT", `${catalogs[0]}/v1/kv/w${key}`, "0");
  const watchers = Array.from({ length: WATCHERS }, (_, n): Watcher => ({ key: n % WATCHED, story: [], lower: 0 }));
  const work = watchers.map((watcher, n) => watch(watcher, catalogs, n, stop.signal));
  await until(async () => watchers.every(({ story }) => story.length > 0));

  let acknowledged: number[] = [];
  let failed = 0;
  let signed: number[] = [];
  const certificates: string[] = [];
  const begun = performance.now();
  let sent = 0;
  const writer = Array.from({ length: 64 }, (_, n) => clientOf(catalogs, n));
  const writing = setInterval(() => {
    while (sent < ((performance.now() - begun) * WRITES_PER_S) / 1_000) {
      const n = sent++;
      void writer[n % 64]?.("PUT", `/v1/kv/k${n % 1_000}`, `${n}`).then((answer) => {
        if (answer?.status === 200) acknowledged.push(performance.now());
        else failed++;
      });
    }
  }, 10);
  const writingWatched = (async () => {
    const busy = new Set<number>();
    const under: Promise<void>[] = [];
    for (let value = 1; !stopWriting.signal.aborted; value++) {
      const key = value % WATCHED;
      if (!busy.has(key)) {
        busy.add(key);
        const one = writeWatched(key, value, clientOf(catalogs, value)).then(() => {
          written[key]?.set(value, performance.now());
          busy.delete(key);
        });
        under.push(one);
      }
      await sleep(WATCHED_EVERY_MS);
    }
    await Promise.all(under);
  })();
  const trustDomain = (JSON.parse((await ask("GET", `${cas[0]}/v1/connect/ca/roots`)).text) as { TrustDomain: string })
    .TrustDomain;
  const csr = createCsr({ key: generateKey(), spiffeId: `spiffe://${trustDomain}/ns/default/dc/dc1/svc/web` });
  const signing = (async () => {
    const client = clientOf(cas, 0);
    while (!stopWriting.signal.aborted) {
      const answer = await client("POST", "/internal/v1/ca/sign", JSON.stringify({ csr }));
      if (answer?.status === 200) {
        signed.push(performance.now());
        certificates.push((JSON.parse(answer.text) as { certPem: string }).certPem);
        await sleep(1_000 / SIGNATURES_PER_S);
      }
    }
  })();

  let isGood = true;
  const measure = async (name: string, kill: () => Promise<unknown>, mend: () => Promise<unknown>) => {
    await sleep(QUIET_MS);
    const at = performance.now();
    failed = 0;
    await kill();
    await sleep(DOWN_MS);
    await mend();
    const gaps = [acknowledged, signed].map((times) =>
      longest([...times.filter((t) => t > at - 200), performance.now()]),
    );
    isGood &&= gaps.every((gap) => gap < RESUME_MS);
    console.log(
      `${name}: longest without an acknowledged write ${gaps[0]?.toFixed(0)} ms, without a certificate ${gaps[1]?.toFixed(0)} ms; ${failed} writes failed`,
    );
    acknowledged = acknowledged.slice(-100);
    signed = signed.slice(-10);
  };
  const client = etcd.client();
  const leads = async (i: number) => {
    const { leader, memberId } = await client.statusOf(etcd.endpoints[i] as string);
    return leader === memberId ? "leads" : "follows";
  };
  await measure(
    "nothing",
    async () => {},
    async () => {},
  );
  for (let round = 0; round < ROUNDS; round++) {
    for (const i of [0, 1, 2])
      await measure(
        `etcd member ${i}, which ${await leads(i)}`,
        () => etcd.signal(i, "SIGKILL"),
        () => etcd.restart(i),
      );
    for (const i of servers.keys())
      await measure(
        i < 3 ? `catalog ${i}` : `CA ${i - 3}`,
        async () => {
          servers[i]?.kill("SIGKILL");
          await once(servers[i] as ChildProcess, "exit");
        },
        async () => {
          servers[i] = launch(i);
          await serves(i);
        },
      );
  }
  client.close();
  clearInterval(writing);
  stopWriting.abort();
  await Promise.all([writingWatched, signing]);
  await sleep(QUIET_MS);
  const problems = watchers.flatMap((watcher) => problemOf(watcher, written) ?? []);
  const lateness = watchers
    .flatMap(({ key, story }) => story.map(({ value, at }) => at - (written[key]?.get(value) ?? at)))
    .toSorted((a, b) => a - b);
  const values = written.reduce((sum, { size }) => sum + size, 0);
  console.log(
    `${values} values of ${WATCHED} keys to ${WATCHERS} watchers: ${problems.length} of them missed or misordered anything` +
      `; told ${lateness[Math.floor(lateness.length * 0.99)]?.toFixed(0)} ms after the acknowledgement (p99), ${lateness.at(-1)?.toFixed(0)} ms at most` +
      `; an index was lower than the one before ${watchers.reduce((sum, { lower }) => sum + lower, 0)} times`,
  );
  for (const problem of problems.slice(0, 5)) console.log(problem);
  const parsed = certificates.map((pem) => new X509Certificate(pem));
  const roots = JSON.parse((await ask("GET", `${cas[0]}/v1/connect/ca/roots`)).text) as {
    Roots: { Active: boolean; RootCert: string }[];
  };
  const active = roots.Roots.filter(({ Active }) => Active).map(({ RootCert }) => new X509Certificate(RootCert));
  const serials = new Set(parsed.map(({ serialNumber }) => serialNumber)).size;
  const isOne = active.length === 1 && parsed.every((leaf) => leaf.verify((active[0] as X509Certificate).publicKey));
  console.log(
    `${parsed.length} certificates, ${serials} serials, ${isOne ? "all" : "NOT all"} under the one active root`,
  );
  // A last write of each key, and the watchers end.
  stop.abort();
  for (let key = 0; key < WATCHED; key++) await ask("PUT", `${catalogs[0]}/v1/kv/w${key}`, "999999999");
  await Promise.all(work);
  return isGood && problems.length === 0 && serials === parsed.length && isOne;
});
