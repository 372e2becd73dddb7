/**
 * Many certificates at once (CA-04): N agents ask for the leaves of all their services in the same moment, with the default limit of 50 a
 * second. Prints how many came in the first second, how many were told to try again, how long it took until all had one, and the catalog's
 * latency before and meanwhile. Ends with status 1 where a goal of the row is missed.
 *
 *     node tools/soak/csr-flood.ts [agents] [services of each]      # 20 50
 */
import { join } from "node:path";
import { type ApiClient, ApiError, createApiClient } from "@heddle/api-client";
import { sleep } from "@heddle/daemon";
import { type Bench, latencies, onBench, percentile, until } from "./support.ts";

const HTTP = 19_740;
const SERVER = HTTP + 1;
const FIRST_AGENT = HTTP + 20;
const AGAIN_MS = 500;
const MOST_IN_FIRST_SECOND = 75;
const LONGEST_MS = 30_000;
const [agents = 20, services = 50] = process.argv.slice(2).map(Number);

await onBench(run);

async function run(bench: Bench): Promise<boolean> {
  const server = startAgent(bench, "server", HTTP, "-server", "-bootstrap-expect=1", `-server-port=${SERVER}`);
  await until(() => server.get("/v1/agent/connect/ca/roots"));
  const all = Array.from({ length: agents }, (_, i) =>
    startAgent(bench, `n${i}`, FIRST_AGENT + i, `-retry-join=127.0.0.1:${SERVER}`),
  );
  await Promise.all(all.map((api) => until(() => api.get("/v1/agent/connect/ca/roots"))));
  await server.put("/v1/kv/watched", { body: "x" });
  const read = () => server.get("/v1/kv/watched");
  const before = await latencies(read, AbortSignal.timeout(5_000));

  const done = new AbortController();
  const meanwhile = latencies(read, done.signal);
  const startedAt = performance.now();
  const at: number[] = [];
  let refusals = 0;
  const others = new Map<string, number>(); // a machine that is busy with other work
  const leaf = async (api: ApiClient, service: string): Promise<void> => {
    for (;;) {
      try {
        await api.get(`/v1/agent/connect/ca/leaf/${service}`, { timeoutMs: LONGEST_MS });
        return void at.push(performance.now() - startedAt);
      } catch (error) {
        if (error instanceof ApiError && error.message.includes("rate limited")) refusals++;
        else others.set(String(error), (others.get(String(error)) ?? 0) + 1);
        await sleep(AGAIN_MS);
      }
    }
  };
  await Promise.all(all.flatMap((api, i) => Array.from({ length: services }, (_, j) => leaf(api, `s${i}-${j}`))));
  done.abort();
  const under = await meanwhile;
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
