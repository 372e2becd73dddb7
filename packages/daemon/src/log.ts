/** Logs: pino underneath, as JSON or as the readable lines that Consul's users know, with sinks for `monitor`. */
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

export interface LogOptions {
  level?: LogLevel;
  json?: boolean;
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
  const json = options.json
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
      else write(`${formatEntry({ time: Date.now(), level: at, component, sentence, fields })}\n`);
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
let isPrepared = false;

/** Lines of one turn of the event loop go out in one write: a write for each costs a busy daemon a tenth of its time. */
export function writeToStandardOutput(line: string): void {
  if (!isPrepared) prepareOutput();
  if (unwritten === "") setImmediate(flushOutput);
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
  if (lines !== "") process.stdout.write(lines);
}

const SECRET = /^(?:token|secretid|privatekey(?:pem)?|key_pem)$/i;

/** One readable line: time, level, component, sentence, fields as key=value. */
export function formatEntry(entry: LogEntry): string {
  const head = `    ${new Date(entry.time).toISOString()} [${entry.level.toUpperCase()}] ${entry.level.length === 4 ? " " : ""}${entry.component}: ${oneLine(entry.sentence)}`;
  const fields = Object.entries(entry.fields).filter(([, v]) => v !== undefined);
  if (fields.length === 0) return head;
  return `${head}: ${fields.map(([k, v]) => `${k}=${SECRET.test(k) ? "[Redacted]" : formatField(v)}`).join(" ")}`;
}

function formatField(value: unknown): string {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? "undefined");
  return /^[^\s"=]+$/.test(text) ? text : JSON.stringify(text);
}

// What a peer sent may stand in a sentence or a field: it must not be able to write a line of its own.
function oneLine(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/** A logger that says nothing, for tests. */
export const silentLog: Logger = createLogHub({ write: () => {}, level: "error" }).log;
