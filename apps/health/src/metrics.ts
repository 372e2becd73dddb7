/** What the health checker tells Prometheus. Labels are bounded: kinds and results, never ids. */
import type { CheckStatus } from "@heddle/service-definition";
import { Counter, Gauge, Histogram, type Registry } from "prom-client";

const LATENESS_BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 5, 30]; // seconds; 1 % of a 10 s interval is 0.1
const DURATION_BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30]; // seconds; the default timeouts are 10 and 30

export interface CheckMetrics {
  /** Counts a run that begins; the returned function ends it. */
  start(type: string): (result: CheckStatus) => void;
  late(latenessMs: number): void;
}

/** Numbers that are read when somebody scrapes. */
export interface CheckGauges {
  checks: () => number;
  connections: () => number;
  running: () => number;
  waiting: () => number;
  flapping: () => number;
}

export function createCheckMetrics(registry: Registry, gauges: CheckGauges): CheckMetrics {
  const registers = [registry];
  const runs = new Counter({
    name: "heddle_health_check_runs_total",
    help: "Probes that ended, by type and result.",
    labelNames: ["type", "result"],
    registers,
  });
  const duration = new Histogram({
    name: "heddle_health_check_duration_seconds",
    help: "How long probes took.",
    labelNames: ["type"],
    buckets: DURATION_BUCKETS,
    registers,
  });
  const lateness = new Histogram({
    name: "heddle_health_check_lateness_seconds",
    help: "How much later than due probes started.",
    buckets: LATENESS_BUCKETS,
    registers,
  });
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  gauge("heddle_health_checks", "Checks that are scheduled.", gauges.checks);
  gauge("heddle_health_checks_flapping", "Checks that are held critical because they come and go.", gauges.flapping);
  gauge("heddle_health_connections", "Agents that are connected.", gauges.connections);
  gauge("heddle_health_checks_running", "Probes under way.", gauges.running);
  gauge("heddle_health_checks_waiting", "Probes that are due and wait for others to end.", gauges.waiting);
  return {
    start(type) {
      const startedAt = performance.now();
      return (result) => {
        runs.inc({ type, result });
        duration.observe({ type }, (performance.now() - startedAt) / 1_000);
      };
    },
    late: (latenessMs) => lateness.observe(Math.max(0, latenessMs) / 1_000),
  };
}
