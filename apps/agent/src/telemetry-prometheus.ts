/** The figures of `/v1/agent/metrics?format=prometheus`, as Consul's Prometheus sink words them. */
import type { Labels, Series, Telemetry } from "./telemetry.ts";

export const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";
const QUANTILES = [0.5, 0.9, 0.99];
const QUANTILE_AGE_MS = 10_000; // quantiles are of the last ten seconds; sums and counts are of all time

/** Series that were not touched for `retentionMs` are left out. */
export function formatPrometheus(
  telemetry: Telemetry,
  { now, retentionMs }: { now: number; retentionMs: number },
): string {
  const families = new Map<string, { type: string; lines: string[] }>();
  const add = (name: string, type: string, lines: string[]) => {
    const family = families.get(name);
    if (family) family.lines.push(...lines);
    else families.set(name, { type, lines });
  };
  for (const { name, value } of telemetry.gauges()) add(metricName(name), "gauge", [`${metricName(name)} ${value}`]);
  for (const series of telemetry.series()) {
    if (now - series.lastAt > retentionMs) continue;
    const name = metricName(series.name);
    if (series.kind === "counter") add(name, "counter", [`${name}${formatLabels(series.labels)} ${series.total.sum}`]);
    else add(name, "summary", summaryLines(name, series, now));
  }
  return [...families]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { type, lines }]) => `# HELP ${name} ${name}\n# TYPE ${name} ${type}\n${lines.join("\n")}\n`)
    .join("");
}

function summaryLines(name: string, series: Series, now: number): string[] {
  const { labels, total } = series;
  const values = series.latest(now - QUANTILE_AGE_MS).sort((a, b) => a - b);
  const quantile = (q: number) => values[Math.min(values.length - 1, Math.floor(q * values.length))] ?? Number.NaN;
  return [
    ...QUANTILES.map((q) => `${name}${formatLabels({ ...labels, quantile: String(q) })} ${quantile(q)}`),
    `${name}_sum${formatLabels(labels)} ${total.sum}`,
    `${name}_count${formatLabels(labels)} ${total.count}`,
  ];
}

const metricName = (name: string): string => name.replace(/[^a-zA-Z0-9_:]/g, "_");

function formatLabels(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${metricName(name)}="${escapeValue(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

const escapeValue = (value: string): string =>
  value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
