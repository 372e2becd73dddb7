/**
 * Many certificates at once (CA-04): N agents ask for the leaves of all their services within a second, with the default limit of 50 a
 * second. Prints how many came in the first second, how many were told to try again, how long it took until all had one, and the
 * latency of the catalog, read by a process of its own, before and meanwhile. Ends with status 1 where a goal of the row is missed. With
 * `prepared` one process asks for all of them, by requests made beforehand: two cores are busy with the server then, and not with twenty
 * agents that make keys.
 *
 *     node tools/soak/csr-flood.ts [agents] [services of each] [prepared]      # 20 50
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type ApiClient, ApiError, createApiClient } from "@heddle/api-client";
import { sleep } from "@heddle/daemon";
import { createCsr, generateKey } from "@heddle/tls";
import { type Bench, latencies, onBench, percentile, until } from "./support.ts";

const HTTP = 19_740;
const SERVER = HTTP + 1;
const FIRST_AGENT = HTTP + 20;
const AGAIN_MS = 500;
const MOST_IN_FIRST_SECOND = 75;
const LONGEST_MS = 30_000;
const isPrepared = process.argv.at(-1) === "prepared";
const [agents = 20, services = 50] = process.argv
  .slice(2)
  .map(Number)
  .filter((count) => count > 0);

if (process.argv[2] === "read") await answerReads();
else await onBench(run);

async function run(bench: Bench): Promise<boolean> {
  const server = startAgent(bench, "server", HTTP, "-server", "-bootstrap-expect=1", `-server-port=${SERVER}`);
  await until(() => server.get("/v1/agent/connect/ca/roots"));
  const all = Array.from({ length: agents }, (_, i) =>
    isPrepared
      ? createApiClient({ address: `127.0.0.1:${SERVER}` })
      : startAgent(bench, `n${i}`, FIRST_AGENT + i, `-retry-join=127.0.0.1:${SERVER}`),
  );
  const asks = isPrepared ? await prepared(server) : anAgentsOwn;
  if (!isPrepared) await Promise.all(all.map((api) => until(() => api.get("/v1/agent/connect/ca/roots"))));
  await server.put("/v1/kv/watched", { body: "x" });
  const reader = fork(import.meta.filename, ["read"]);
  await once(reader, "message");
  const readUntil = async (isDone: Promise<unknown>): Promise<number[]> => {
    reader.send("start");
    await isDone;
    reader.send("stop");
    return (await once(reader, "message"))[0] as number[];
  };
  const before = await readUntil(sleep(5_000));

  const startedAt = performance.now();
  const at: number[] = [];
  let refusals = 0;
  const others = new Map<string, number>(); // a machine that is busy with other work
  const leaf = async (api: ApiClient, service: string): Promise<void> => {
    await sleep(Math.random() * 1_000);
    for (;;) {
      try {
        await asks(api, service);
        return void at.push(performance.now() - startedAt);
      } catch (error) {
        if (error instanceof ApiError && error.message.includes("rate limited")) refusals++;
        else others.set(String(error), (others.get(String(error)) ?? 0) + 1);
        await sleep(AGAIN_MS * (0.5 + Math.random()));
      }
    }
  };
  const under = await readUntil(
    Promise.all(all.flatMap((api, i) => Array.from({ length: services }, (_, j) => leaf(api, `s${i}-${j}`)))),
  );
  reader.kill();
  const first = at.filter((ms) => ms <= 1_000).length;
  const last = Math.max(...at);
  console.log(
    `${at.length} leaves for ${agents} agents: ${first} in the first second, ${refusals} times told to try again, the last after ${(last / 1_000).toFixed(1)} s`,
  );
  console.log(
    `a key read at the server: p50 ${percentile(before, 50)}, p99 ${percentile(before, 99)} before; p50 ${percentile(under, 50)}, p99 ${percentile(under, 99)} meanwhile`,
  );
  for (const [error, count] of others) console.log(`${count} times: ${error}`);
  for (const api of [server, ...all]) api.close();
  return first <= MOST_IN_FIRST_SECOND && last <= LONGEST_MS;
}

/** The process that reads a key again and again, from "start" to "stop". */
async function answerReads(): Promise<void> {
  process.once("disconnect", () => process.exit());
  const server = createApiClient({ address: `127.0.0.1:${HTTP}` });
  process.send?.("ready");
  for (;;) {
    await once(process, "message");
    const done = new AbortController();
    const all = latencies(() => server.get("/v1/kv/watched"), done.signal);
    await once(process, "message");
    done.abort();
    process.send?.(await all);
  }
}

type Ask = (api: ApiClient, service: string) => Promise<unknown>;

/** The agent makes the key, and asks the CA. */
function anAgentsOwn(api: ApiClient, service: string): Promise<unknown> {
  return api.get(`/v1/agent/connect/ca/leaf/${service}`, { timeoutMs: LONGEST_MS });
}

/** What an agent sends to the CA. */
async function prepared(server: ApiClient): Promise<Ask> {
  const { body } = await server.get<{ TrustDomain: string }>("/v1/agent/connect/ca/roots");
  const [key, csrs] = [generateKey(), new Map<string, string>()];
  for (let i = 0; i < agents; i++)
    for (let j = 0; j < services; j++) {
      const service = `s${i}-${j}`;
      const spiffeId = `spiffe://${body.TrustDomain}/ns/default/dc/dc1/svc/${service}`;
      csrs.set(service, createCsr({ key, spiffeId }));
    }
  return (api, service) =>
    api.post("/internal/v1/ca/sign", { body: { csr: csrs.get(service) }, timeoutMs: LONGEST_MS });
}

function startAgent({ dir, heddle }: Bench, name: string, http: number, ...flags: string[]): ApiClient {
  const own = [
    `-node=${name}`,
    `-http-port=${http}`,
    `-data-dir=${join(dir, name)}`,
    "-bind=127.0.0.1",
    "-dns-port=-1",
  ];
  heddle("agent", ...own, "-grpc-port=-1", "-log-level=err", ...flags);
  return createApiClient({ address: `127.0.0.1:${http}` });
}
