/**
 * Bad input at length (SECURITY.md): API-02 and API-04, DNS-01 and DNS-08, each as its row says. Prints a line for each; ends with status 1 where
 * something was not as it should be. Delays are printed and not judged: they belong to a quiet machine.
 *
 *     node tools/soak/bad-input.ts [api-02] [api-04] [dns-01] [dns-08]      # all by default, some three minutes
 */
import { fork } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { sleep } from "@heddle/daemon";
import { type Bench, latencies, percentile, runRows, until } from "./support.ts";

const HTTP = 18_670;
const DNS = HTTP + 1;
const SERVER = HTTP + 2;
const METRICS = HTTP + 3;
const URL = `http://127.0.0.1:${HTTP}`;
const MIB = 1024 * 1024;
const DRIBBLERS = 2_000;
const DRIBBLE_MS = 60_000;
const DROPPED_WITHIN_MS = 15_000;
const CROWD = 18_900; // from 100 addresses: what the descriptors of a process allow here
const MALFORMED = 100_000;
const BURST = 100;
const PAUSE_MS = 20;
const STALE_MS = 60_000;

const ROWS: Record<string, (bench: Bench) => Promise<boolean>> = {
  "api-02": dribblers,
  "api-04": crowd,
  "dns-01": malformed,
  "dns-08": catalogAway,
};

if (process.send) await askGood();
else await runRows(ROWS);

/** 2,000 clients send a byte of their head each second. */
async function dribblers(bench: Bench): Promise<boolean> {
  const end = await startAgent(bench);
  const stop = new AbortController();
  const measuring = latencies(async () => (await fetch(`${URL}/v1/kv/a`)).text(), stop.signal);
  const ages: number[] = [];
  const open = new Set<Socket>();
  const dribble = setInterval(() => open.forEach((socket) => socket.write("a")), 1_000);
  const deadline = performance.now() + DRIBBLE_MS;
  // Each that is dropped comes again, until the minute is over.
  const client = async (i: number): Promise<void> => {
    while (performance.now() < deadline) {
      const startedAt = performance.now();
      const socket = await dial(HTTP, address(i % 20));
      open.add(socket);
      await closed(socket);
      open.delete(socket);
      ages.push(performance.now() - startedAt);
    }
  };
  await Promise.all(Array.from({ length: DRIBBLERS }, (_, i) => client(i)));
  clearInterval(dribble);
  stop.abort();
  const took = await measuring;
  const oldest = Math.max(...ages);
  const isGood = oldest < DROPPED_WITHIN_MS && ages.length > DRIBBLERS;
  console.log(`${ages.length} heads, the longest ${Math.round(oldest)} ms; good requests p99 ${percentile(took, 99)}`);
  await end();
  return isGood;
}

/** As many connections as there are descriptors, from 100 addresses, held. */
async function crowd(bench: Bench): Promise<boolean> {
  const end = await startAgent(bench);
  const before = await resident(URL);
  const sockets: Socket[] = [];
  let refused = 0;
  for (let i = 0; i < CROWD; i += 100) {
    const batch = Array.from({ length: 100 }, (_, n) => dial(HTTP, address(n)).catch(() => void refused++));
    for (const socket of await Promise.all(batch)) if (socket) sockets.push(socket);
  }
  const answer = await fetch(`${URL}/v1/status/leader`).then(({ status }) => status, String);
  const grown = (await resident(URL)) - before;
  for (const socket of sockets) socket.destroy();
  const freedAt = performance.now();
  await until(async () => (await fetch(`${URL}/v1/kv/?keys`)).status < 500);
  const recoveredMs = Math.round(performance.now() - freedAt);
  console.log(
    `${sockets.length} open, ${refused} refused; another address is answered ${answer}, ${grown} MiB more; served ${recoveredMs} ms after they went`,
  );
  await end();
  return answer === 200 && refused === 0;
}

/** 100,000 malformed datagrams, some 4,000 a second in bursts of 100, beside 50 good questions a second. */
async function malformed(bench: Bench): Promise<boolean> {
  const end = await startAgent(bench);
  const question = packet("consul.service.consul");
  const random = generator(42);
  const socket = createSocket("udp4");
  // By a process of its own, or what is measured is how long the bursts keep this one.
  const good = fork(import.meta.filename);
  await once(good, "message");
  const before = await resident(URL);
  let lost = 0;
  // Beside them, one that is answered before the next burst: what waits in the kernel is no measure of the daemon.
  const between = asker(question);
  for (let i = 0; i < MALFORMED; i++) {
    socket.send(mutated(question, random), DNS, "127.0.0.1");
    if (i % BURST !== BURST - 1) continue;
    if (!(await between.ask())) lost++;
    await sleep(PAUSE_MS);
  }
  good.send("end");
  const [told] = (await once(good, "message")) as [{ took: number[]; lost: number }];
  lost += told.lost;
  const grown = (await resident(URL)) - before;
  for (const each of [socket, between]) each.close();
  const [p50, p99] = [50, 99].map((percent) => percentile(told.took, percent));
  console.log(`${told.took.length} good answers, ${lost} lost, p50 ${p50}, p99 ${p99}; ${grown} MiB more`);
  await end();
  return lost === 0 && grown < 20;
}

/** In a process of its own: 50 good questions a second until it is told to end; then how long each took, sorted, and how many were lost. */
async function askGood(): Promise<void> {
  const good = asker(packet("consul.service.consul"));
  await good.ask();
  const stop = new AbortController();
  process.once("message", () => stop.abort());
  process.send?.("asking");
  const took: number[] = [];
  let lost = 0;
  while (!stop.signal.aborted) {
    const startedAt = performance.now();
    if (await good.ask()) took.push(performance.now() - startedAt);
    else lost++;
    await sleep(20);
  }
  took.sort((a, b) => a - b);
  process.send?.({ took, lost }, () => process.exit());
}

/** The catalog is killed, and a minute of questions is answered from memory. */
async function catalogAway({ heddle, dir }: Bench): Promise<boolean> {
  const catalog = heddle("serve", "catalog", `-port=${SERVER}`, `-data-dir=${dir}/catalog`, "-log-level=error");
  await until(async () => (await fetch(`http://127.0.0.1:${SERVER}/healthz`)).ok);
  await fetch(`http://127.0.0.1:${SERVER}/v1/catalog/register`, {
    method: "PUT",
    body: JSON.stringify({ Node: "n1", Address: "10.0.0.1", Service: { Service: "web" } }),
  });
  const dns = heddle(
    ...["serve", "dns", `-port=${DNS}`, `-catalog-url=http://127.0.0.1:${SERVER}`],
    ...[`-metrics-port=${METRICS}`, "-log-level=error"],
  );
  const good = asker(packet("web.service.consul"));
  await until(() => good.ask());
  catalog.kill("SIGKILL");
  const deadline = performance.now() + STALE_MS;
  let [answered, lost] = [0, 0];
  while (performance.now() < deadline) {
    if (await good.ask()) answered++;
    else lost++;
    await sleep(5);
  }
  good.close();
  const metrics = await (await fetch(`http://127.0.0.1:${METRICS}/metrics`)).text();
  const marked = Number(/^heddle_dns_stale_answers_total\S* (\d+)/m.exec(metrics)?.[1] ?? 0);
  console.log(`${answered} answers from memory, ${lost} lost, ${marked} marked as such in its metrics`);
  dns.kill("SIGKILL");
  // The first few go out before the end of the connection is noticed.
  return lost === 0 && marked > answered * 0.99;
}

async function startAgent({ heddle }: Bench): Promise<() => Promise<void>> {
  const ports = [`-http-port=${HTTP}`, `-dns-port=${DNS}`, `-server-port=${SERVER}`];
  const agent = heddle("agent", "-dev", ...ports, "-log-level=err");
  await until(async () => (await fetch(`${URL}/v1/health/service/consul`)).ok);
  return async () => {
    if (agent.exitCode !== null) throw new Error(`the agent ended with ${agent.exitCode}`);
    const ended = once(agent, "close");
    agent.kill("SIGKILL");
    await ended;
  };
}

function address(n: number): string {
  return `127.0.1.${n + 1}`;
}

function dial(port: number, localAddress: string): Promise<Socket> {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  socket.resume();
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.once("connect", () => {
      socket.on("error", () => {});
      socket.write("GET /v1/kv/a HTTP/1.1\r\nX: ");
      resolve(socket);
    });
  });
}

async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await once(socket, "close");
}

async function resident(url: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const matches = [...text.matchAll(/^process_resident_memory_bytes\S* (\S+)/gm)].map(([, value]) => Number(value));
  return Math.round(Math.max(...matches) / MIB);
}

/** A question for an A record. */
function packet(name: string): Buffer {
  const labels = name.split(".").flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]);
  const head = Buffer.from([0xbe, 0xef, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  return Buffer.concat([head, ...labels, Buffer.from([0, 0, 1, 0, 1])]);
}

/** Asks the same again and again; an answer is one record or more. */
function asker(question: Buffer): { ask: () => Promise<boolean>; close: () => void } {
  const socket = createSocket("udp4");
  let onAnswer: (isGood: boolean) => void = () => {};
  socket.on("error", () => {});
  socket.on("message", (answer) => onAnswer(answer.readUInt16BE(6) > 0 && (answer.readUInt16BE(2) & 15) === 0));
  return {
    ask: () =>
      new Promise((resolve) => {
        const late = setTimeout(() => resolve(false), 5_000);
        onAnswer = (isGood) => {
          clearTimeout(late);
          resolve(isGood);
        };
        socket.send(question, DNS, "127.0.0.1");
      }),
    close: () => socket.close(),
  };
}

/** Bytes changed, cut off or put behind; counts, labels that point at themselves and lengths that lie come up by the thousand. */
function mutated(question: Buffer, random: () => number): Buffer {
  const tail = Buffer.from(Array.from({ length: random() % 40 }, () => random() & 255));
  const bytes = Buffer.concat([question, tail]);
  for (let edits = random() % 6; edits >= 0; edits--)
    bytes[random() % bytes.length] = random() % 3 === 0 ? 0xc0 : random() & 255;
  return random() % 4 === 0 ? bytes.subarray(0, random() % bytes.length) : bytes;
}

/** Lehmer's, so that a run can be had again. */
function generator(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 48_271) % 2_147_483_647);
}
