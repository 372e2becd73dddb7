/** Go's duration text ("1h30m", "250ms"): what Consul's files, flags and query strings use. Lives as milliseconds. */
import { InvalidArgumentError } from "./errors.ts";

const UNIT_MS: Record<string, number> = { ns: 1e-6, us: 1e-3, µs: 1e-3, μs: 1e-3, ms: 1, s: 1e3, m: 60e3, h: 3600e3 };

/** Parses Go duration text into milliseconds (Go `time.ParseDuration`). Throws InvalidArgumentError. */
export function parseDuration(text: string): number {
  const invalid = () =>
    new InvalidArgumentError(
      `invalid duration '${text.slice(0, 64)}': want a number and a unit, such as '10s', '1h30m' or '250ms'`,
    );
  // The common form first: each blocking query has one.
  const simple = /^(\d{1,9})(ms|s|m|h)$/.exec(text);
  if (simple) return Number(simple[1]) * (UNIT_MS[simple[2] as string] as number);
  if (text.length > 64) throw invalid();
  const sign = text.startsWith("-") ? -1 : 1;
  const body = /^[+-]/.test(text) ? text.slice(1) : text;
  if (body === "0") return 0;
  if (!/^(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.test(body)) throw invalid();
  let ms = 0;
  for (const [, number, unit] of body.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    ms += Number(number) * (UNIT_MS[unit as string] as number);
  }
  // Go's durations are int64 nanoseconds: about 292 years.
  if (ms > 9_223_372_036_854) throw invalid();
  return sign * ms;
}

/** Formats milliseconds as Go's `Duration.String` does: "1h30m0s", "250ms", "1.5s", "0s". */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0s";
  const sign = ms < 0 ? "-" : "";
  const ns = Math.round(Math.abs(ms) * 1e6);
  if (ns < 1e3) return `${sign}${ns}ns`;
  if (ns < 1e6) return `${sign}${trim(ns / 1e3)}µs`;
  if (ns < 1e9) return `${sign}${trim(ns / 1e6)}ms`;
  const hours = Math.floor(ns / 3600e9);
  const minutes = Math.floor((ns % 3600e9) / 60e9);
  const seconds = trim((ns % 60e9) / 1e9);
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}s`;
  if (minutes > 0) return `${sign}${minutes}m${seconds}s`;
  return `${sign}${seconds}s`;
}

function trim(value: number): string {
  return value.toFixed(9).replace(/\.?0+$/, "");
}
