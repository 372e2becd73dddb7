import { ManualClock } from "@heddle/daemon/testing";
import { describe, expect, test } from "vitest";
import type { AgentConfig } from "./config/index.ts";
import { Telemetry } from "./telemetry.ts";
import { formatPrometheus } from "./telemetry-prometheus.ts";

const START = Date.UTC(2026, 0, 1, 12, 0, 3);

function setup(telemetry: Partial<AgentConfig["telemetry"]> = {}) {
  const clock = new ManualClock(START);
  const config = {
    devMode: true,
    server: true,
    telemetry: { disableHostname: true, filterDefault: true, metricsPrefix: "consul", prefixFilter: [], ...telemetry },
  } as unknown as AgentConfig;
  return { clock, telemetry: new Telemetry(() => config, clock) };
}

describe("the JSON of /v1/agent/metrics", () => {
  test("shows the first interval while it runs, then the last one that is over", () => {
    const { clock, telemetry } = setup();
    for (const ms of [1, 2, 3]) telemetry.sample("kvs.apply", ms);
    telemetry.count("client.rpc");
    const [sample] = telemetry.display().Samples;
    expect(sample).toEqual({
      Name: "consul.kvs.apply",
      Count: 3,
      Rate: 0.6,
      Sum: 6,
      Min: 1,
      Max: 3,
      Mean: 2,
      Stddev: 1,
      Labels: {},
    });
    expect(telemetry.display().Timestamp).toBe("2026-01-01 12:00:00 +0000 UTC");

    clock.advance(10_000);
    telemetry.count("client.rpc");
    telemetry.count("client.rpc");
    expect(telemetry.display().Counters.map((c) => c.Count)).toEqual([1]);
    clock.advance(10_000);
    expect(telemetry.display().Counters.map((c) => c.Count)).toEqual([2]);
    clock.advance(10_000);
    expect(telemetry.display().Counters).toEqual([]);
    expect(telemetry.display().Gauges.map((g) => g.Name)).toContain("consul.autopilot.healthy");
  });

  test.each([
    [["-consul.kvs"], true, ["consul.client.rpc"]],
    [["+consul.kvs"], false, ["consul.kvs.apply"]],
    [["-consul", "+consul.client"], true, ["consul.client.rpc"]],
  ])("prefix_filter %j, filter_default %s", (prefixFilter, filterDefault, names) => {
    const { telemetry } = setup({ prefixFilter, filterDefault });
    telemetry.count("client.rpc");
    telemetry.sample("kvs.apply", 1);
    expect(telemetry.series().map((s) => s.name)).toEqual(names);
  });

  test("a flood of labels is not kept", () => {
    const { telemetry } = setup();
    for (let i = 0; i < 10_000; i++) telemetry.count("catalog.service.query", { service: `s${i}` });
    expect(telemetry.series().length).toBe(2_000);
  });
});

test("Prometheus text has types, quantiles and labels, and forgets what is older than the retention", () => {
  const { clock, telemetry } = setup();
  telemetry.count("client.rpc");
  clock.advance(50_000);
  for (const ms of [1, 2, 3, 4]) telemetry.sample("fsm.kvs", ms, { op: 'a"b' });
  const now = clock.now();
  const text = formatPrometheus(telemetry, { now, retentionMs: 60_000 });
  expect(text).toContain("# TYPE consul_client_rpc counter\nconsul_client_rpc 1\n");
  expect(text).toContain('# TYPE consul_fsm_kvs summary\nconsul_fsm_kvs{op="a\\"b",quantile="0.5"} 3\n');
  expect(text).toContain('consul_fsm_kvs_sum{op="a\\"b"} 10\nconsul_fsm_kvs_count{op="a\\"b"} 4\n');
  expect(formatPrometheus(telemetry, { now, retentionMs: 40_000 })).not.toContain("consul_client_rpc");
});
