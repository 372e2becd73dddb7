/**
 * 20,000 handshakes at once that never end: callers from 40 addresses send the first half of a ClientHello, a byte a second. Meanwhile
 * a caller with a tunnel makes new connections. Prints what was seen for docs/security-rows.md; status 1 where a connection failed, a
 * slow one outlived its time, or a descriptor stayed.
 *
 *     node tools/soak/slow-handshakes.ts [handshakes] [addresses]      # 20000 40, a minute
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { holdings, startPair } from "./pair.ts";
import { type Bench, latencies, onBench, percentile, until } from "./support.ts";

const HTTP = 18_780;
const EACH = 8_000; // of a process: descriptors are limited
const HANDSHAKE_MS = 10_000; // `handshake_timeout_ms`, by default
const CONNECT_MS = 30_000;
const GRACE_MS = 20_000; // a caller is connected before the proxy takes it from its queue
const SAME = 5; // descriptors that are no leak
const BYTE_MS = 1_000;
/** A record of 512 bytes, of which the header and a ClientHello's first bytes come. */
const HELLO = Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, ...Buffer.alloc(64, 7)]);

/** Of one process of callers: how many were refused, or waited in the kernel's queue until they gave up, how many are open, and how long the last of them lived. */
interface Told {
  refused: number;
  neverIn: number;
  open: number;
  longestMs: number;
}

const [handshakes = 20_000, addresses = 40] = process.argv.slice(2).map(Number);
if (process.send) await attack();
else await onBench(run);

async function run(bench: Bench): Promise<boolean> {
  const pair = await startPair(bench, HTTP);
  // Each thread of the caller has tunnels of its own: so many connections that all of them have one.
  const held = await pair.holdAll(20);
  const [proxy] = pair.proxies as [ChildProcess];
  const before = holdings(proxy);
  const stop = new AbortController();
  let failed = 0;
  const why = new Map<string, number>();
  const others = latencies(
    () => pair.talk().catch((error: Error) => (failed++, why.set(error.message, (why.get(error.message) ?? 0) + 1))),
    stop.signal,
  );
  const told: Told[] = [];
  const callers = Array.from({ length: Math.ceil(handshakes / EACH) }, (_, i) => {
    const count = Math.min(EACH, handshakes - i * EACH);
    const child = fork(import.meta.filename, [String(count), String(addresses), String(pair.publicPort)]);
    child.on("message", (message: Told) => (told[i] = message));
    return child;
  });
  const sum = (of: (one: Told) => number) => told.reduce((all, one) => all + of(one), 0);
  let [mostOpen, mostDescriptors] = [0, 0];
  const watch = setInterval(() => {
    mostOpen = Math.max(
      mostOpen,
      sum(({ open }) => open),
    );
    mostDescriptors = Math.max(mostDescriptors, holdings(proxy).descriptors);
  }, 250);
  const statuses = await Promise.all(callers.map((child) => once(child, "exit")));
  clearInterval(watch);
  stop.abort();
  const sorted = await others;
  const wellBehaved = () => holdings(proxy).descriptors <= before.descriptors + SAME;
  await until(async () => wellBehaved(), 30_000).catch(() => {});
  const after = holdings(proxy);
  const longest = Math.max(...told.map(({ longestMs }) => longestMs));
  console.log(
    `${handshakes} slow handshakes from ${addresses} addresses: at most ${mostOpen} open at once (${mostDescriptors} descriptors of the proxy), ${sum(({ refused }) => refused)} refused at once, ${sum(({ neverIn }) => neverIn)} never accepted within ${CONNECT_MS} ms, the longest ended after ${Math.round(longest)} ms; ${sorted.length} connections of a caller with a tunnel meanwhile, ${failed} failed, ${percentile(sorted, 50)} (p50), ${percentile(sorted, 99)} (p99), ${percentile(sorted, 100 - 1e-9)} at most; descriptors ${before.descriptors} before, ${after.descriptors} after; memory ${before.mib} MiB, ${after.mib}`,
  );
  for (const [message, count] of why)
    for (let i = 0; i < count; i++) pair.failed(`a connection of the caller: ${message}`);
  const isGood = await pair.isGood(held);
  const areWhole = statuses.every(([status]) => status === 0);
  return isGood && areWhole && failed === 0 && wellBehaved() && longest < HANDSHAKE_MS + GRACE_MS;
}

/** The callers: each sends what it has to say a byte at a time until the proxy ends it. */
async function attack(): Promise<void> {
  const [count = 0, from = 1, port = 0] = process.argv.slice(2).map(Number);
  const told: Told = { refused: 0, neverIn: 0, open: 0, longestMs: 0 };
  const all = Array.from({ length: count }, (_, i) => {
    const socket: Socket = connect({ port, host: "127.0.0.1", localAddress: `127.0.1.${1 + (i % from)}` });
    let startedAt = Number.NaN;
    let sent = 0;
    // The kernel tries again for two minutes where the proxy's queue is full.
    const giveUp = setTimeout(() => socket.destroy(), CONNECT_MS);
    const timer = setInterval(() => {
      if (sent < HELLO.length) socket.write(HELLO.subarray(sent, ++sent));
    }, BYTE_MS);
    socket.on("error", () => {});
    socket.once("connect", () => {
      clearTimeout(giveUp);
      startedAt = performance.now();
      told.open++;
      sent = 6;
      socket.write(HELLO.subarray(0, sent));
      socket.once("close", () => told.open--);
    });
    return new Promise<void>((resolve) =>
      socket.resume().once("close", () => {
        clearInterval(timer);
        clearTimeout(giveUp);
        const ms = performance.now() - startedAt;
        if (Number.isNaN(ms)) told.neverIn++;
        else {
          if (ms < HANDSHAKE_MS / 2) told.refused++;
          told.longestMs = Math.max(told.longestMs, ms);
        }
        resolve();
      }),
    );
  });
  const tell = setInterval(() => process.send?.(told), 250);
  await Promise.all(all);
  clearInterval(tell);
  await new Promise((resolve) => process.send?.(told, resolve));
  process.exit();
}
