/** Logs: JSON (by pino), logfmt, or the readable lines that Consul's users know, with sinks for `monitor`. */
import { pino } from "pino";

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error";
export type Fields = Record<string, unknown>;

/** A constant sentence plus fields; `child` names the component that speaks. */
export interface Logger {
  trace(sentence: string, fields?: Fields): void;
  debug(sentence: string, fields?: Fields): void;
  info(sentence: string, fields?: Fields): void;
  warn(sentence: string, fields?: Fields): void;
  error(sentence: string, fields?: Fields): void;
  child(component: string): Logger;
  /** True when debug entries go anywhere: spares building them. */
  isDebug(): boolean;
}

export interface LogEntry {
  time: number;
  level: LogLevel;
  component: string;
  sentence: string;
  fields: Fields;
}

export interface LogHub {
  readonly log: Logger;
  /** Receives every entry at `level` or above until the returned function is called. */
  tap(level: LogLevel, sink: (entry: LogEntry) => void): () => void;
  setLevel(level: LogLevel): void;
}

/** "text" is for people, the others are for programs. */
export const LOG_FORMATS = ["text", "json", "logfmt"] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

export interface LogOptions {
  level?: LogLevel;
  /** Short for `format: "json"`. */
  json?: boolean;
  format?: LogFormat;
  /** Where lines go; standard output by default. */
  write?: (line: string) => void;
}

const RANK: Record<LogLevel, number> = { trace: 10, debug: 20, info: 30, warn: 40, error: 50 };
export const LOG_LEVELS = Object.keys(RANK) as LogLevel[];

// A token or a key in a log is a leak for ever; pino censors these paths whatever the caller passes.
const REDACTED = [
  "token",
  "SecretID",
  "PrivateKeyPEM",
  "privateKey",
  "key_pem",
  "*.token",
  "*.Token",
  "*.PrivateKeyPEM",
];

/** Parses Consul's level names ("WARN", "err", …). Returns undefined for an unknown one. */
export function parseLogLevel(text: string): LogLevel | undefined {
  const name = text.toLowerCase();
  const known: Record<string, LogLevel> = { err: "error", warning: "warn" };
  return known[name] ?? LOG_LEVELS.find((l) => l === name);
}

export function createLogHub(options: LogOptions = {}): LogHub {
  const write = options.write ?? writeToStandardOutput;
  let level = options.level ?? "info";
  const taps = new Map<(entry: LogEntry) => void, LogLevel>();
  const { format = options.json ? "json" : "text" } = options;
  const toLine = format === "logfmt" ? formatLogfmt : formatEntry;
  const json =
    format === "json"
      ? pino(
          {
            level: "trace",
            base: null,
            redact: REDACTED,
            timestamp: pino.stdTimeFunctions.isoTime,
            formatters: { level: (l) => ({ level: l }) },
          },
          { write },
        )
      : undefined;

  const emit = (component: string, at: LogLevel, sentence: string, fields: Fields) => {
    if (RANK[at] >= RANK[level]) {
      if (json) json[at]({ component, ...fields }, sentence);
      else write(`${toLine({ time: Date.now(), level: at, component, sentence, fields })}\n`);
    }
    for (const [sink, min] of taps)
      if (RANK[at] >= RANK[min]) sink({ time: Date.now(), level: at, component, sentence, fields });
  };
  const make = (component: string): Logger => ({
    trace: (s, f = {}) => emit(component, "trace", s, f),
    debug: (s, f = {}) => emit(component, "debug", s, f),
    info: (s, f = {}) => emit(component, "info", s, f),
    warn: (s, f = {}) => emit(component, "warn", s, f),
    error: (s, f = {}) => emit(component, "error", s, f),
    child: (name) => make(component ? `${component}.${name}` : name),
    isDebug: () => RANK[level] <= RANK.debug || [...taps.values()].some((l) => RANK[l] <= RANK.debug),
  });
  return {
    log: make(""),
    tap(min, sink) {
      taps.set(sink, min);
      return () => taps.delete(sink);
    },
    setLevel: (l) => {
      level = l;
    },
  };
}

let unwritten = "";
let flushedAt = 0;
let isPrepared = false;
const GATHER_MS = 5;

/** Lines of five milliseconds go out in one write, and a line after a silence at once: a write for each costs a busy daemon a tenth of its time. */
export function writeToStandardOutput(line: string): void {
  if (!isPrepared) prepareOutput();
  if (unwritten === "") {
    const wait = GATHER_MS - (performance.now() - flushedAt);
    if (wait <= 0) setImmediate(flushOutput);
    else setTimeout(flushOutput, wait);
  }
  unwritten += line;
}

function prepareOutput(): void {
  isPrepared = true;
  // Whoever reads our output may go away (`| head`, a log collector's restart): EPIPE must not end a daemon.
  if (process.stdout.listenerCount("error") === 0) process.stdout.on("error", () => {});
  process.once("exit", flushOutput); // a crash's last words too
}

function flushOutput(): void {
  const lines = unwritten;
  unwritten = "";
  flushedAt = performance.now();
  if (lines !== "") process.stdout.write(lines);
}

const SECRET = /^(?:token|secretid|privatekey(?:pem)?|key_pem)$/i;
const MAX_MEMO = 1_000;
const MAX_MEMO_LENGTH = 200;

/** Names of fields and services, sentences and reasons come again and again: what was made of a short text is kept for the next time. */
function memo<T>(make: (text: string) => T): (text: string) => T {
  const made = new Map<string, T>();
  return (text) => {
    const before = made.get(text);
    if (before !== undefined) return before;
    const now = make(text);
    if (text.length > MAX_MEMO_LENGTH) return now;
    if (made.size >= MAX_MEMO) made.clear();
    made.set(text, now);
    return now;
  };
}

const isSecret = memo((name) => SECRET.test(name));
// oxlint-disable-next-line no-control-regex
const quoted = memo((text) => (/^[^\s"=\u0000-\u001f\u007f]+$/.test(text) ? text : JSON.stringify(text)));
// What a peer sent may stand in a sentence or a field: it must not be able to write a line of its own.
const oneLine = memo((text) =>
  // oxlint-disable-next-line no-control-regex
  text.replace(/[\u0000-\u001f\u007f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`),
);

/** One readable line: time, level, component, sentence, fields as key=value. */
export function formatEntry({ time, level, component, sentence, fields }: LogEntry): string {
  const line = `    ${formatTime(time)} [${level.toUpperCase()}] ${level.length === 4 ? " " : ""}${component}: ${oneLine(sentence)}`;
  const pairs = formatFields(fields);
  return pairs === "" ? line : `${line}:${pairs}`;
}

/** One line of logfmt: the same, all as key=value. */
export function formatLogfmt({ time, level, component, sentence, fields }: LogEntry): string {
  return `ts=${formatTime(time)} level=${level} component=${quoted(component)} msg=${quoted(sentence)}${formatFields(fields)}`;
}

/** " key=value" for each. */
function formatFields(fields: Fields): string {
  let pairs = "";
  for (const name of Object.keys(fields)) {
    const value = fields[name];
    if (value !== undefined) pairs += ` ${name}=${isSecret(name) ? "[Redacted]" : formatField(value)}`;
  }
  return pairs;
}

function formatField(value: unknown): string {
  if (typeof value === "number" && Number.isFinite(value)) return String(value);
  return quoted(typeof value === "string" ? value : (JSON.stringify(value) ?? "undefined"));
}

let second = Number.NaN;
let upToSecond = "";

/** ISO 8601 in UTC. Lines come by the thousand a second. */
function formatTime(ms: number): string {
  const at = Math.floor(ms / 1_000);
  if (at !== second) {
    second = at;
    upToSecond = new Date(at * 1_000).toISOString().slice(0, -4);
  }
  return `${upToSecond}${String(Math.floor(ms - at * 1_000)).padStart(3, "0")}Z`;
}

/** A logger that says nothing, for tests. */
export const silentLog: Logger = createLogHub({ write: () => {}, level: "error" }).log;
