/**
 * The figures of `/v1/agent/metrics`, under Consul's names: what was counted and measured in intervals of ten seconds, as
 * its in-memory sink keeps them, and since the start for Prometheus (telemetry-prometheus.ts).
 */
import { hostname } from "node:os";
import type { Clock } from "@heddle/daemon";
import type { AgentConfig } from "./config/index.ts";

const INTERVAL_MS = 10_000;
const MAX_SERIES = 2_000; // names of services are labels: who asks for many must not fill the memory
const MAX_KEPT_VALUES = 500; // a series, for quantiles

export type Labels = Record<string, string>;

/** What was observed in one interval, or since the start. */
export interface Aggregate {
  name: string;
  labels: Labels;
  count: number;
  sum: number;
  sumOfSquares: number;
  min: number;
  max: number;
}

export interface Series extends Aggregate {
  kind: "counter" | "sample";
  /** Milliseconds since the epoch. */
  lastAt: number;
  /** The latest values, for quantiles; samples only. */
  latest: { value: number; at: number }[];
}

interface Interval {
  start: number;
  counters: Map<string, Aggregate>;
  samples: Map<string, Aggregate>;
}

export class Telemetry {
  readonly #config: AgentConfig;
  readonly #clock: Clock;
  readonly #startedAt: number;
  #intervals: Interval[] = [];
  readonly #series = new Map<string, Series>();

  constructor(config: AgentConfig, clock: Clock) {
    this.#config = config;
    this.#clock = clock;
    this.#startedAt = clock.now();
  }

  count(name: string, labels: Labels = {}): void {
    this.#add("counter", name, 1, labels);
  }

  /** A duration in milliseconds. */
  sample(name: string, ms: number, labels: Labels = {}): void {
    this.#add("sample", name, ms, labels);
  }

  /** Everything observed since the start. */
  series(): Series[] {
    return [...this.#series.values()];
  }

  /** What is read off now, by its full name. */
  gauges(): { name: string; value: number }[] {
    const { telemetry, devMode, server } = this.#config;
    const memory = process.memoryUsage();
    const values: Record<string, number> = {
      ...(server && { "autopilot.failure_tolerance": 0, "autopilot.healthy": 1 }),
      "runtime.alloc_bytes": memory.heapUsed,
      // Nothing here is a goroutine; what keeps the event loop busy comes nearest.
      "runtime.num_goroutines": process.getActiveResourcesInfo().length,
      "runtime.sys_bytes": memory.rss,
    };
    const host = telemetry.disableHostname || devMode ? "" : `${hostname()}.`;
    return Object.entries(values)
      .map(([name, value]) => ({ name: this.#fullName(host + name), value }))
      .filter(({ name }) => this.#isWanted(name));
  }

  /** The last interval that is over, or the first one while it runs. */
  display() {
    const now = this.#intervalStart();
    const first = Math.floor(this.#startedAt / INTERVAL_MS) * INTERVAL_MS;
    const start = now === first ? now : now - INTERVAL_MS;
    const interval = this.#intervals.find((i) => i.start === start);
    return {
      Timestamp: `${new Date(start).toISOString().replace("T", " ").slice(0, 19)} +0000 UTC`,
      Gauges: this.gauges().map(({ name, value }) => ({ Name: name, Value: value, Labels: {} })),
      Points: [],
      Counters: [...(interval?.counters.values() ?? [])].map(show),
      Samples: [...(interval?.samples.values() ?? [])].map(show),
    };
  }

  #add(kind: Series["kind"], shortName: string, value: number, labels: Labels): void {
    const name = this.#fullName(shortName);
    if (!this.#isWanted(name)) return;
    const values = Object.values(labels);
    const key = values.length === 0 ? name : `${name}\0${values.join("\0")}`;
    const now = this.#clock.now();
    let series = this.#series.get(key);
    if (!series) {
      if (this.#series.size >= MAX_SERIES) return;
      series = { ...emptyAggregate(name, labels), kind, lastAt: now, latest: [] };
      this.#series.set(key, series);
    }
    observe(series, value);
    series.lastAt = now;
    if (kind === "sample") {
      if (series.latest.length >= MAX_KEPT_VALUES) series.latest.splice(0, MAX_KEPT_VALUES / 2);
      series.latest.push({ value, at: now });
    }
    const interval = this.#current();
    const map = kind === "counter" ? interval.counters : interval.samples;
    let aggregate = map.get(key);
    if (!aggregate) map.set(key, (aggregate = emptyAggregate(name, labels)));
    observe(aggregate, value);
  }

  #current(): Interval {
    const start = this.#intervalStart();
    const last = this.#intervals.at(-1);
    if (last?.start === start) return last;
    const interval = { start, counters: new Map<string, Aggregate>(), samples: new Map<string, Aggregate>() };
    this.#intervals = [...this.#intervals.slice(-1), interval];
    return interval;
  }

  #intervalStart(): number {
    return Math.floor(this.#clock.now() / INTERVAL_MS) * INTERVAL_MS;
  }

  #fullName(name: string): string {
    const { metricsPrefix } = this.#config.telemetry;
    return `${metricsPrefix || "consul"}.${name}`;
  }

  /** `prefix_filter`: "+a.b" lets through what begins so, "-a" keeps it out; the longest prefix decides. */
  #isWanted(name: string): boolean {
    const { prefixFilter, filterDefault } = this.#config.telemetry;
    if (prefixFilter.length === 0) return filterDefault;
    const rules = prefixFilter.filter((rule) => name.startsWith(rule.slice(1)));
    const longest = rules.sort((a, b) => b.length - a.length)[0];
    return longest === undefined ? filterDefault : longest.startsWith("+");
  }
}

const emptyAggregate = (name: string, labels: Labels): Aggregate => ({
  name,
  labels,
  count: 0,
  sum: 0,
  sumOfSquares: 0,
  min: Number.POSITIVE_INFINITY,
  max: Number.NEGATIVE_INFINITY,
});

function observe(aggregate: Aggregate, value: number): void {
  aggregate.count += 1;
  aggregate.sum += value;
  aggregate.sumOfSquares += value * value;
  aggregate.min = Math.min(aggregate.min, value);
  aggregate.max = Math.max(aggregate.max, value);
}

function show({ name, labels, count, sum, sumOfSquares, min, max }: Aggregate) {
  const variance = count > 1 ? (count * sumOfSquares - sum * sum) / (count * (count - 1)) : 0;
  return {
    Name: name,
    Count: count,
    Rate: sum / (INTERVAL_MS / 1000),
    Sum: sum,
    Min: min,
    Max: max,
    Mean: sum / count,
    Stddev: Math.sqrt(Math.max(0, variance)),
    Labels: labels,
  };
}
