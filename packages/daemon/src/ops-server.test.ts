import { expect, test } from "vitest";
import { silentLog } from "./log.ts";
import { createRegistry } from "./metrics.ts";
import { startOpsServer } from "./ops-server.ts";

const part = { started: true, live: true, ready: false, details: "no catalog yet" };
const deps = { registry: createRegistry("test"), health: () => ({ part }), log: silentLog };

test("an ops server answers its three routes and nothing else", async () => {
  await using server = await startOpsServer({ host: "127.0.0.1", port: 0, ...deps });
  const get = async (path: string) => {
    const answer = await fetch(server.url + path);
    return { status: answer.status, text: await answer.text() };
  };
  const metrics = await get("/metrics");
  expect(metrics.status).toBe(200);
  expect(metrics.text).toContain('process_cpu_user_seconds_total{daemon="test"}');
  expect(await get("/healthz")).toMatchObject({ status: 200 });
  expect(await get("/readyz")).toEqual({ status: 503, text: JSON.stringify({ part }) });
  expect(await get("/v1/kv/a")).toMatchObject({ status: 404 });
});

test("a port below zero is no listener", async () => {
  await using server = await startOpsServer({ host: "127.0.0.1", port: -1, ...deps });
  expect(server.url).toBe("");
});
