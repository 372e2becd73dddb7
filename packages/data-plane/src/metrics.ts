/** The proxy's metric families. Names of services come from peers, so each label keeps to a bounded set of values. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { Counter, Gauge, type Registry } from "prom-client";
import type { Carried } from "./carrier.ts";
import type { Connection, Parties } from "./connections.ts";
import type { TlsFacts } from "./mesh-tls.ts";
import type { Leaf } from "./snapshot.ts";
import type { PipeEnd } from "./pipe.ts";
import type { Refusal } from "./refusal.ts";
import { type Series, SeriesHistogram } from "./series-histogram.ts";

const MAX_NAMES = 500; // services seen as source or destination; the rest count as "other"
const FAST_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const DELAY_QUANTILES = [0.5, 0.99, 1];
const DELAY_RESOLUTION_MS = 20;
const LONG_SECONDS = [0.001, 0.01, 0.1, 1, 10, 60, 600, 3_600, 36_000];

/** What times and counts are told by. */
type Pair = Pick<Parties, "direction" | "source" | "destination">;

export interface ProxyMetrics {
  opened(connection: Connection): void;
  closed(connection: Connection, how: PipeEnd["how"] | "cut", durationMs: number): void;
  refused(parties: Parties, refusal: Refusal): void;
  handshake(pair: Pair, ms: number, facts: TlsFacts): void;
  /** The next hop has taken a connection. */
  connect(pair: Pair, ms: number): void;
}

export interface MetricsInput {
  registry: Registry;
  /** Which of the process's threads it is, where there are several. */
  worker?: string;
  /** The proxies that this thread carries. */
  carried: () => Iterable<Carried>;
  /** How long the agent has been away, in milliseconds: the age of what we know. */
  awayMs: () => number;
}

export function createProxyMetrics(input: MetricsInput): ProxyMetrics {
  const { registry, carried, worker = "0" } = input;
  const registers = [registry];
  const parties = ["direction", "source", "destination"] as const;
  const total = new Counter({
    name: "heddle_proxy_connections_total",
    help: "Connections by the decision on them; reason is empty where allowed.",
    labelNames: [...parties, "result", "reason"],
    registers,
    collect: () => {
      for (const cell of cells()) {
        total.inc({ ...cell.labels, result: "allowed", reason: "" }, cell.allowed);
        cell.allowed = 0;
      }
    },
  });
  const ended = new Counter({
    name: "heddle_proxy_connections_closed_total",
    help: "Allowed connections that ended, by how they ended.",
    labelNames: ["direction", "how"],
    registers,
    collect: () => {
      for (const [direction, counts] of Object.entries(endings))
        for (const how of HOWS) {
          if (counts[how] > 0) ended.inc({ direction, how }, counts[how]);
          counts[how] = 0;
        }
    },
  });
  const open = new Gauge({
    name: "heddle_proxy_connections_open",
    help: "Connections that are open now.",
    labelNames: parties,
    registers,
    collect: () => {
      for (const { labels, open: count } of cells()) open.set(labels, count);
    },
  });
  const bytes = new Counter({
    name: "heddle_proxy_bytes_total",
    help: "Bytes of applications: flow 'in' from who opened the connection, 'out' to them.",
    labelNames: [...parties, "flow"],
    registers,
    collect: () => {
      for (const { table } of carried()) for (const connection of table.all) count(connection);
      for (const cell of cells()) {
        bytes.inc({ ...cell.labels, flow: "in" }, cell.in);
        bytes.inc({ ...cell.labels, flow: "out" }, cell.out);
        cell.in = cell.out = 0;
      }
    },
  });
  const handshake = histogram("heddle_proxy_handshake_seconds", "Time of a TLS handshake.", FAST_SECONDS);
  const handshakes = new Counter({
    name: "heddle_proxy_handshakes_total",
    help: "TLS handshakes, by protocol and key agreement; the accepting end is not told the latter.",
    labelNames: ["direction", "version", "group"],
    registers,
  });
  const firstByte = histogram(
    "heddle_proxy_first_byte_seconds",
    "Time until the other side's first byte.",
    FAST_SECONDS,
  );
  const connect = histogram(
    "heddle_proxy_connect_seconds",
    "Time until the next hop took a connection: inbound the service, outbound an instance's proxy, its handshake included where it took one.",
    FAST_SECONDS,
  );
  const duration = histogram("heddle_proxy_connection_duration_seconds", "Life of a connection.", LONG_SECONDS);

  const leafGauge = (name: string, help: string, of: (leaf: Leaf | undefined) => number) =>
    gauge(name, help, ["identity"], "max", (set) => {
      const leaves = new Map<string, number>(); // of two instances of a service: the one that ends first
      for (const { store } of carried()) {
        const { leaf, spec = { service: "" } } = store.current;
        leaves.set(spec.service, Math.min(of(leaf), leaves.get(spec.service) ?? Number.POSITIVE_INFINITY));
      }
      for (const [service, ms] of leaves) set({ identity: bounded(service) }, ms / 1000);
    });
  leafGauge(
    "heddle_proxy_leaf_expiry_timestamp_seconds",
    "When our certificate expires; 0 while there is none.",
    (leaf) => leaf?.notAfter ?? 0,
  );
  leafGauge("heddle_proxy_leaf_lifetime_seconds", "How long our certificate is valid in all.", (leaf) =>
    leaf ? leaf.notAfter - leaf.notBefore : 0,
  );
  gauge(
    "heddle_proxy_snapshot_age_seconds",
    "How long the agent has been away; 0 while it answers.",
    [],
    "max",
    (set) => set({}, input.awayMs() / 1000),
  );
  gauge("heddle_proxy_tunnels_open", "TLS connections that carry streams.", ["direction"], "sum", (set) => {
    for (const { proxy } of carried())
      for (const [direction, count] of Object.entries(proxy.tunnels())) set({ direction }, count);
  });
  gauge(
    "heddle_proxy_instances",
    "Instances of upstreams, by whether they are used; a mean over the process's threads.",
    ["source", "destination", "state"],
    "average",
    (set) => {
      // Two listeners of one upstream know the same instances.
      const told = new Set<string>();
      for (const { store, proxy } of carried())
        for (const { destination, healthy, ejected } of proxy.instances()) {
          const of = { source: bounded(store.current.spec?.service ?? ""), destination: bounded(destination) };
          if (told.has(`${of.source} ${of.destination}`)) continue;
          told.add(`${of.source} ${of.destination}`);
          set({ ...of, state: "healthy" }, healthy);
          set({ ...of, state: "ejected" }, ejected);
        }
    },
  );

  // It costs a wake-up every 20 ms, so nobody pays for it who does not scrape.
  let delays: ReturnType<typeof monitorEventLoopDelay> | undefined;
  gauge(
    "heddle_proxy_event_loop_delay_seconds",
    "How much later than due the event loop's turns came since the last scrape.",
    ["worker", "quantile"],
    "max",
    (set) => {
      if (!delays) {
        delays = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
        delays.enable();
      }
      for (const q of DELAY_QUANTILES) {
        const ms = delays.count === 0 ? 0 : delays.percentile(q * 100) / 1e6 - DELAY_RESOLUTION_MS;
        set({ worker, quantile: String(q) }, Math.max(0, ms) / 1000);
      }
      delays.reset();
    },
  );

  type Labels = Record<string, string>;
  function gauge(
    name: string,
    help: string,
    labelNames: string[],
    /** Of the threads' values. */
    aggregator: "sum" | "max" | "average",
    /** What is said twice of the same labels is added up. */
    tell: (add: (labels: Labels, n: number) => void) => void,
  ) {
    const own: Gauge = new Gauge({
      name,
      help,
      labelNames,
      aggregator,
      registers,
      collect() {
        own.reset();
        tell((labels, n) => own.inc(labels, n));
      },
    });
  }

  function histogram(name: string, help: string, buckets: number[]) {
    const all = new SeriesHistogram({ name, help, labelNames: parties, buckets, registry });
    const known = new Map<string, Series>();
    return (labels: Labels): Series => {
      const key = Object.values(labels).join(" ");
      const series = known.get(key) ?? all.series(labels);
      known.set(key, series);
      return series;
    };
  }

  const names = new Set<string>();
  const bounded = (name: string): string => {
    if (names.has(name)) return name;
    if (names.size >= MAX_NAMES) return "other";
    names.add(name);
    return name;
  };
  const labels = ({ direction, source, destination }: Pair) => ({
    direction,
    source: bounded(source),
    destination: bounded(destination),
  });

  // By direction and source, then by destination: two look-ups for a connection, and no more until it ends.
  const bySource = { inbound: new Map<string, Map<string, Cell>>(), outbound: new Map<string, Map<string, Cell>>() };
  function cellOf(who: Pair): Cell {
    const [source, destination] = [bounded(who.source), bounded(who.destination)];
    let byDestination = bySource[who.direction].get(source);
    if (!byDestination) bySource[who.direction].set(source, (byDestination = new Map()));
    let cell = byDestination.get(destination);
    if (!cell) {
      const of = labels(who);
      const times = { connect: connect(of), firstByte: firstByte(of), duration: duration(of) };
      cell = { labels: of, ...times, allowed: 0, open: 0, in: 0, out: 0 };
      byDestination.set(destination, cell);
    }
    return cell;
  }
  function* cells(): Generator<Cell> {
    for (const sources of Object.values(bySource)) for (const all of sources.values()) yield* all.values();
  }

  const endings = { inbound: noEndings(), outbound: noEndings() };

  const count = ({ counted, pipe }: Connection) => {
    if (!counted) return;
    const { bytesFromA, bytesFromB } = pipe;
    counted.cell.in += bytesFromA - counted.in;
    counted.cell.out += bytesFromB - counted.out;
    counted.in = bytesFromA;
    counted.out = bytesFromB;
    // Told while it is open: some stay for days.
    if (counted.isFirstByteTold || pipe.firstByteMs === undefined) return;
    counted.isFirstByteTold = true;
    counted.cell.firstByte.observe(pipe.firstByteMs / 1000);
  };

  return {
    opened(connection) {
      const cell = cellOf(connection);
      cell.allowed++;
      cell.open++;
      connection.counted = { cell, in: 0, out: 0, isFirstByteTold: false };
    },
    closed(connection, how, durationMs) {
      const { cell } = connection.counted ?? {};
      if (!cell) return;
      count(connection);
      cell.open--;
      endings[connection.direction][how]++;
      cell.duration.observe(durationMs / 1000);
    },
    refused(who, refusal) {
      total.inc({ ...labels(who), result: "refused", reason: refusal.code });
    },
    handshake(who, ms, { version, group }) {
      handshake(labels(who)).observe(ms / 1000);
      handshakes.inc({ direction: who.direction, version, group });
    },
    connect: (who, ms) => cellOf(who).connect.observe(ms / 1000),
  };
}

/** What is counted of a pair of services since it was last told, so that a connection adds numbers and looks nothing up. */
interface Cell {
  labels: Record<"direction" | "source" | "destination", string>;
  connect: Series;
  firstByte: Series;
  duration: Series;
  allowed: number;
  open: number;
  in: number;
  out: number;
}

/** How much of a connection has been counted. */
export interface Counted {
  cell: Cell;
  in: number;
  out: number;
  isFirstByteTold: boolean;
}

const HOWS = ["closed", "reset", "half_open_idle", "stopped", "cut"] as const;
const noEndings = (): Record<(typeof HOWS)[number], number> => ({
  closed: 0,
  reset: 0,
  half_open_idle: 0,
  stopped: 0,
  cut: 0,
});
