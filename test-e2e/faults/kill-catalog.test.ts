/** DUR-01 and CON-04, shortened: SIGKILL at random moments under load loses nothing that was acknowledged. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { ask, freePort, get, put, serve, tempDir } from "./daemon.ts";

const IS_SOAK = process.env.HEDDLE_SOAK_KILLS !== undefined; // tools/soak/kills.sh
const KILLS = Number(process.env.HEDDLE_SOAK_KILLS ?? 20);
/** At length as the rows have it: 500 writes and 20 registrations a second, a life of 0.2 to 3 s; here all in a hurry. */
const LOAD = IS_SOAK
  ? { writers: 16, writeMs: 32, registerMs: 50, counters: 8, minMs: 200, maxMs: 3_000 }
  : { writers: 8, writeMs: 0, registerMs: 0, counters: 2, minMs: 40, maxMs: 200 };

/** What the clients know: each key's last acknowledged value and, after it, what was sent and got no answer. */
interface Known {
  acked: string | null;
  unsure: (string | null)[];
}

test(`${KILLS} kills under writes, deletes, compare-and-sets and registrations`, {
  timeout: 60_000 + KILLS * (IS_SOAK ? 8_000 : 2_000),
}, async () => {
  const port = await freePort();
  const args = ["-data-dir", tempDir()];
  const url = `http://127.0.0.1:${port}`;
  const known = new Map<string, Known>();
  const services = { acked: new Set<string>(), sent: new Set<string>() };
  const counter = { acked: 0, unsure: 0 };
  let highestIndex = 0;
  const readyMs: number[] = [];

  const writeKey = async (writer: number, round: number, n: number) => {
    const key = `w${writer}/k${n % 12}`;
    const entry = known.get(key) ?? { acked: null, unsure: [] };
    known.set(key, entry);
    const value = n % 5 === 4 ? null : `${round}-${n}`;
    entry.unsure.push(value);
    const answer = await ask(
      `${url}/v1/kv/${key}`,
      value === null ? { method: "DELETE" } : { method: "PUT", body: value },
    );
    expect([answer.status, answer.text.trim()]).toEqual([200, "true"]);
    known.set(key, { acked: value, unsure: [] });
  };
  const register = async (round: number, n: number) => {
    const ID = `s${round}-${n}`;
    services.sent.add(ID);
    const body = {
      Node: `n${n % 3}`,
      Address: "10.0.0.1",
      Service: { ID, Service: "web" },
      Check: { Name: ID, CheckID: ID, ServiceID: ID },
    };
    expect((await put(`${url}/v1/catalog/register`, body)).status).toBe(200);
    services.acked.add(ID);
  };
  const increment = async () => {
    const [at] = (await get(`${url}/v1/kv/counter`)).json<[{ ModifyIndex: number; Value: string }]>();
    const next = Number(Buffer.from(at.Value, "base64").toString()) + 1;
    counter.unsure++;
    const answer = await put(`${url}/v1/kv/counter?cas=${at.ModifyIndex}`, String(next));
    expect(answer.status).toBe(200);
    counter.unsure--;
    if (answer.text.trim() === "true") counter.acked++;
  };

  let catalog = await serve("catalog", port, ...args);
  await put(`${url}/v1/kv/counter`, "0");
  for (let round = 0; round < KILLS; round++) {
    let isKilled = false;
    const loop = async (step: (n: number) => Promise<void>, everyMs = 0) => {
      for (let n = 0; ; n++) {
        try {
          const pause = everyMs > 0 ? sleep(everyMs) : undefined;
          await step(n);
          await pause;
        } catch (error) {
          if (!isKilled) throw error;
          return;
        }
      }
    };
    const load = [
      ...Array.from({ length: LOAD.writers }, (_, writer) => loop((n) => writeKey(writer, round, n), LOAD.writeMs)),
      loop((n) => register(round, n), LOAD.registerMs),
      ...Array.from({ length: LOAD.counters }, () => loop(increment)),
    ];
    const killing = sleep(LOAD.minMs + Math.random() * (LOAD.maxMs - LOAD.minMs)).then(() => {
      isKilled = true;
      return catalog.end("SIGKILL");
    });
    await Promise.all([killing, ...load]);
    const start = performance.now();
    catalog = await serve("catalog", port, ...args);
    readyMs.push(performance.now() - start);

    const listed = await get(`${url}/v1/kv/?recurse`);
    const index = Number(listed.headers["x-consul-index"]);
    const held = new Map(
      listed
        .json<{ Key: string; Value: string | null }[]>()
        .map((r) => [r.Key, Buffer.from(r.Value ?? "", "base64").toString()]),
    );
    expect(index).toBeGreaterThanOrEqual(highestIndex);
    highestIndex = index;
    for (const [key, { acked, unsure }] of known) {
      const now = held.get(key) ?? null;
      expect([key, [acked, ...unsure]]).toEqual([key, expect.arrayContaining([now])]);
      known.set(key, { acked: now, unsure: [] });
    }
    const count = Number(held.get("counter"));
    expect(count).toBeGreaterThanOrEqual(counter.acked);
    expect(count).toBeLessThanOrEqual(counter.acked + counter.unsure);
    Object.assign(counter, { acked: count, unsure: 0 });
    // A registration is a service and its check in one step: both or neither.
    const registered = new Set(
      (await get(`${url}/v1/health/service/web`))
        .json<{ Service: { ID: string }; Checks: { CheckID: string }[] }[]>()
        .map(({ Service, Checks }) => {
          expect(Checks.map((c) => c.CheckID)).toContain(Service.ID);
          return Service.ID;
        }),
    );
    expect([...services.acked].filter((id) => !registered.has(id))).toEqual([]);
    expect([...registered].filter((id) => !services.sent.has(id))).toEqual([]);
  }
  expect(await catalog.end()).toEqual([0, null]);
  expect(counter.acked).toBeGreaterThan(KILLS);
  const [median, p99, most] = [0.5, 0.99, 1].map((q) =>
    Math.round(readyMs.toSorted((a, b) => a - b)[Math.ceil(q * KILLS) - 1] as number),
  );
  console.log(
    `${KILLS} kills: ${highestIndex} commits, ${services.acked.size} registrations, counter ${counter.acked}; from exec to ready ${median} ms (p50), ${p99} (p99), ${most} (most)`,
  );
});
