import { createServer } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { Registry } from "prom-client";
import { expect, onTestFinished, test } from "vitest";
import { silentLog } from "./log.ts";
import { ManualClock } from "./manual-clock.ts";
import { RequestLimit } from "./request-limit.ts";

test("a client has its second's worth at once, and then as many as time brings", async () => {
  const clock = new ManualClock();
  const registry = new Registry();
  let rate = 10;
  const limit = new RequestLimit(() => rate, { setting: "limits.x", registry, log: silentLog, clock });
  const server = createServer((req, res) => void (limit.admit(req, res) && res.end("served"))).listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const served = async (count: number) => {
    let ok = 0;
    for (let i = 0; i < count; i++) ok += (await fetch(url)).ok ? 1 : 0;
    return ok;
  };
  expect(await served(15)).toBe(10);
  const refused = await fetch(url);
  expect(refused.status).toBe(429);
  expect(refused.headers.get("retry-after")).toBe("1");
  expect(await refused.text()).toBe("too many requests from 127.0.0.1: the limit is 10 a second (limits.x)\n");
  clock.advance(300);
  expect(await served(15)).toBe(3);
  clock.advance(60_000);
  expect(await served(15)).toBe(10);
  rate = 0;
  expect(await served(15)).toBe(15);
  expect(await registry.metrics()).toContain("heddle_http_requests_refused_total 23");
});
