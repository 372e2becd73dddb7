/** API-10: a grammar of changed requests over every row of the public API. At length by hand: tools/soak/fuzz.sh. */
import { join } from "node:path";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { ask, type Daemon, freePort, metric, ROOT, run, tempDir, until } from "./daemon.ts";
import { fuzzedRequest, type FuzzedRequest, ROW_PATHS } from "./fuzz-grammar.ts";

const REQUESTS = Number(process.env.HEDDLE_FUZZ_REQUESTS ?? 6_000);
const SEED = Number(process.env.HEDDLE_FUZZ_SEED ?? 20_261_124);
const BATCH = 400;
const AT_ONCE = 16;
const WARM = 6_000; // requests that a long run begins with
// It levels off by 40,000 requests: a leak would go on.
const MAX_GROWTH_MIB = 50;

test(`${REQUESTS} changed requests (seed ${SEED}) crash nothing and find nothing unexpected`, {
  timeout: 60_000 + REQUESTS * 20,
}, async () => {
  const http = await freePort();
  const flags = [
    "agent",
    "-server",
    "-bootstrap-expect=1",
    "-bind=127.0.0.1",
    `-data-dir=${tempDir()}`,
    `-http-port=${http}`,
    `-server-port=${await freePort()}`,
    "-dns-port=-1",
  ];
  // As users run it: from the bundle, with the launcher's settings of Node, on which memory depends.
  const agent: Daemon = {
    ...run(join(ROOT, "heddle"), flags),
    port: http,
    url: `http://127.0.0.1:${http}`,
  };
  await until(
    () => ask(`${agent.url}/v1/catalog/nodes`),
    ({ text }) => text.includes('"Node"'),
    60_000,
  );
  const methodsOf = new Map<string, string[]>();
  for (const row of ROW_PATHS) {
    const { headers } = await ask(`${agent.url}${row}`, { method: "OPTIONS" });
    expect(headers.allow, row).toMatch(/,OPTIONS|OPTIONS,/);
    methodsOf.set(
      row,
      String(headers.allow)
        .split(",")
        .filter((method) => method !== "OPTIONS"),
    );
  }
  const request = fuzzedRequest(methodsOf);
  await send(agent, fc.sample(request, { seed: SEED, numRuns: BATCH }));
  const cold = await residentMiB(agent);
  // In a long run what counts is what comes on top of an agent in use.
  let warm = cold;
  const statuses = new Map<number, number>();
  for (let at = 0; at < REQUESTS; at += BATCH) {
    // A seed of its own for each batch, so that a failing one can be sent again alone.
    const seed = SEED + at;
    const requests = fc.sample(request, { seed, numRuns: BATCH });
    for (const status of await send(agent, requests)) statuses.set(status, (statuses.get(status) ?? 0) + 1);
    expect(problems(agent), `HEDDLE_FUZZ_SEED=${seed} HEDDLE_FUZZ_REQUESTS=${BATCH}`).toEqual([]);
    expect(agent.child.exitCode).toBeNull();
    if (at + BATCH === WARM && REQUESTS > WARM) warm = await residentMiB(agent);
  }
  expect((await ask(`${agent.url}/v1/kv/after`, { method: "PUT", body: "x" })).text).toBe("true");
  expect((await ask(`${agent.url}/v1/kv/after?raw`)).text).toBe("x");
  expect([...statuses.keys()].filter((status) => status > 500 && status !== 503)).toEqual([]);
  // The grammar reaches past the parsers: many requests are taken.
  expect(statuses.get(200) ?? 0).toBeGreaterThan(REQUESTS / 10);
  const grown = async () => Math.round((await residentMiB(agent)) - warm);
  const atEnd = await grown();
  // What is garbage is given back once there is time for it.
  await expect.poll(grown, { interval: 500 }).toBeLessThan(MAX_GROWTH_MIB);
  process.stdout.write(
    `memory grew by ${atEnd} MiB, ${await grown()} in the end, and ${Math.round(warm - cold)} before; statuses: ${JSON.stringify(Object.fromEntries([...statuses].sort(([a], [b]) => a - b)))}\n`,
  );
});

const residentMiB = async ({ url }: Daemon) => (await metric(url, "process_resident_memory_bytes")) / 1024 / 1024;

/** What the daemon did not expect: it says so in its log, with a stack. */
function problems(agent: Daemon): string[] {
  return agent.output().match(/^.*(?:\[ERROR\]|uncaught|unhandled|RangeError|TypeError).*$/gim) ?? [];
}

async function send(agent: Daemon, requests: FuzzedRequest[]): Promise<number[]> {
  const statuses: number[] = [];
  const left = requests.values();
  const worker = async () => {
    for (const { method, target, body } of left) {
      const what = `${method} ${target} ${body?.slice(0, 400)}`;
      const answer = await ask(`${agent.url}${target}`, { method, ...(body !== undefined && { body }) }).catch(
        (cause: unknown) => {
          throw new Error(`no answer to ${what}; the daemon said: ${agent.output().slice(-2_000)}`, { cause });
        },
      );
      if (answer.text !== "")
        expect(answer.headers["x-content-type-options"] ?? answer.headers.location, what).toBeDefined();
      statuses.push(answer.status);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return statuses;
}
