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
  count: number;
  sum: number;
  sumOfSquares: number;
  min: number;
  max: number;
}

/** The observations under one name and labels. */
export class Series {
  readonly name: string;
  readonly labels: Labels;
  readonly kind: "counter" | "sample";
  readonly total = emptyAggregate();
  /** Milliseconds since the epoch. */
  lastAt: number;
  readonly #clock: Clock;
  // The interval that runs and the one before it: what is shown is the last that is over.
  #current = { start: 0, aggregate: emptyAggregate() };
  #previous = this.#current;
  // The latest values and when they came, for quantiles: two rings.
  readonly #values: number[] = [];
  readonly #times: number[] = [];
  #next = 0;

  constructor(kind: Series["kind"], name: string, { labels, clock }: { labels: Labels; clock: Clock }) {
    this.kind = kind;
    this.name = name;
    this.labels = labels;
    this.#clock = clock;
    this.lastAt = clock.now();
  }

  /** A count, or a duration in milliseconds. */
  observe(value: number): void {
    const now = this.#clock.now();
    const start = now - (now % INTERVAL_MS);
    this.lastAt = now;
    if (this.#current.start !== start) {
      this.#previous = this.#current;
      this.#current = { start, aggregate: emptyAggregate() };
    }
    add(this.total, value);
    add(this.#current.aggregate, value);
    if (this.kind === "counter") return;
    this.#values[this.#next] = value;
    this.#times[this.#next] = now;
    this.#next = (this.#next + 1) % MAX_KEPT_VALUES;
  }

  /** What was observed in the interval that began at `start`. */
  during(start: number): Aggregate | undefined {
    return [this.#current, this.#previous].find((interval) => interval.start === start)?.aggregate;
  }

  /** The latest values of the time since `since`. */
  latest(since: number): number[] {
    return this.#values.filter((_, i) => (this.#times[i] as number) >= since);
  }
}

export class Telemetry {
  readonly #config: () => AgentConfig;
  readonly #clock: Clock;
  readonly #startedAt: number;
  readonly #series = new Map<string, Series>();
  /** By the names that the code uses, without labels: the hot path makes no text. */
  readonly #byShortName = new Map<string, Series | undefined>();

  /** The configuration is asked anew where a reload may change it. */
  constructor(config: () => AgentConfig, clock: Clock) {
    this.#config = config;
    this.#clock = clock;
    this.#startedAt = clock.now();
  }

  count(name: string, labels?: Labels): void {
    this.#find("counter", name, labels)?.observe(1);
  }

  /** A duration in milliseconds. */
  sample(name: string, ms: number, labels?: Labels): void {
    this.#find("sample", name, labels)?.observe(ms);
  }

  /** Another `prefix_filter` holds: what it no longer lets through goes. */
  filterChanged(): void {
    this.#byShortName.clear();
    for (const [key, { name }] of this.#series) if (!this.#isWanted(name)) this.#series.delete(key);
  }

  /** Everything observed since the start. */
  series(): Series[] {
    return [...this.#series.values()];
  }

  /** What is read off now, by its full name. */
  gauges(): { name: string; value: number }[] {
    const { telemetry, devMode, server } = this.#config();
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
    const now = Math.floor(this.#clock.now() / INTERVAL_MS) * INTERVAL_MS;
    const first = Math.floor(this.#startedAt / INTERVAL_MS) * INTERVAL_MS;
    const start = now === first ? now : now - INTERVAL_MS;
    const shown = (kind: Series["kind"]) =>
      this.series().flatMap((series) => {
        const aggregate = series.kind === kind ? series.during(start) : undefined;
        return aggregate ? [show(series, aggregate)] : [];
      });
    return {
      Timestamp: `${new Date(start).toISOString().replace("T", " ").slice(0, 19)} +0000 UTC`,
      Gauges: this.gauges().map(({ name, value }) => ({ Name: name, Value: value, Labels: {} })),
      Points: [],
      Counters: shown("counter"),
      Samples: shown("sample"),
    };
  }

  #find(kind: Series["kind"], shortName: string, labels?: Labels): Series | undefined {
    if (labels) return this.#make(kind, shortName, labels);
    let series = this.#byShortName.get(shortName);
    if (!series && !this.#byShortName.has(shortName)) {
      series = this.#make(kind, shortName, {});
      if (this.#byShortName.size < MAX_SERIES) this.#byShortName.set(shortName, series);
    }
    return series;
  }

  /** The series, made where it is new; none where it is not wanted, or there are too many. */
  #make(kind: Series["kind"], shortName: string, labels: Labels): Series | undefined {
    const name = this.#fullName(shortName);
    if (!this.#isWanted(name)) return undefined;
    const key = [name, ...Object.values(labels)].join("\0");
    let series = this.#series.get(key);
    if (!series && this.#series.size < MAX_SERIES) {
      series = new Series(kind, name, { labels, clock: this.#clock });
      this.#series.set(key, series);
    }
    return series;
  }

  #fullName(name: string): string {
    const { metricsPrefix } = this.#config().telemetry;
    return `${metricsPrefix || "consul"}.${name}`;
  }

  /** `prefix_filter`: "+a.b" lets through what begins so, "-a" keeps it out; the longest prefix decides. */
  #isWanted(name: string): boolean {
    const { prefixFilter, filterDefault } = this.#config().telemetry;
    if (prefixFilter.length === 0) return filterDefault;
    const rules = prefixFilter.filter((rule) => name.startsWith(rule.slice(1)));
    const longest = rules.sort((a, b) => b.length - a.length)[0];
    return longest === undefined ? filterDefault : longest.startsWith("+");
  }
}

function emptyAggregate(): Aggregate {
  return { count: 0, sum: 0, sumOfSquares: 0, min: Number.POSITIVE_INFINITY, max: Number.NEGATIVE_INFINITY };
}

function add(aggregate: Aggregate, value: number): void {
  aggregate.count += 1;
  aggregate.sum += value;
  aggregate.sumOfSquares += value * value;
  if (value < aggregate.min) aggregate.min = value;
  if (value > aggregate.max) aggregate.max = value;
}

function show({ name, labels }: Series, { count, sum, sumOfSquares, min, max }: Aggregate) {
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
