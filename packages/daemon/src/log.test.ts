import { expect, test } from "vitest";
import { createLogHub, formatEntry, formatLogfmt, LOG_FORMATS, type LogEntry } from "./log.ts";
import { parseLogfmt } from "./testing.ts";

const entry = (fields: LogEntry["fields"], rest: Partial<LogEntry> = {}): LogEntry => ({
  time: Date.UTC(2026, 10, 27, 8, 9, 10, 7),
  level: "info",
  component: "proxy.access",
  sentence: "connection closed",
  fields,
  ...rest,
});
const fieldsOf = (fields: LogEntry["fields"]) => formatEntry(entry(fields)).split("connection closed")[1];

test("a line is time, level, component, sentence and fields", () => {
  const fields = { source: "web", reason: "closed by both ends", bytes_in: 5, duration_ms: 0.3, rule: undefined };
  expect(formatEntry(entry(fields))).toBe(
    '    2026-11-27T08:09:10.007Z [INFO]  proxy.access: connection closed: source=web reason="closed by both ends" bytes_in=5 duration_ms=0.3',
  );
  expect(formatEntry(entry({}, { level: "error", time: Date.UTC(2026, 10, 27, 8, 9, 11, 999) }))).toBe(
    "    2026-11-27T08:09:11.999Z [ERROR] proxy.access: connection closed",
  );
});

test("whatever a value is, it is one word or quoted, also the second time", () => {
  const rows: [unknown, string][] = [
    ["", '""'],
    ["a=b", '"a=b"'],
    ['say "x"', '"say \\"x\\""'],
    ["two\nlines", '"two\\nlines"'],
    [null, "null"],
    [true, "true"],
    [Number.NaN, "null"],
    [["a", 1], '"[\\"a\\",1]"'],
    [{ a: 1 }, '"{\\"a\\":1}"'],
    ["x".repeat(300), "x".repeat(300)],
  ];
  for (const [value, text] of [...rows, ...rows]) expect(fieldsOf({ value })).toBe(`: value=${text}`);
});

test("secrets are not written, and a sentence is one line", () => {
  expect(fieldsOf({ token: "a", SecretID: "b", privateKeyPem: "c", key_pem: "d" })).not.toMatch(/=[abcd]/);
  expect(formatEntry(entry({}, { sentence: "a\r\nb\u007f" }))).toMatch(/a\\x0d\\x0ab\\x7f$/);
});

test("a line of logfmt is all pairs, whatever stands in them", () => {
  const fields = {
    source: "web",
    reason: 'said "no"\nthen left',
    tls: "",
    bytes_in: 5,
    list: ["a", 1],
    esc: "\u001b[1m",
    gone: undefined,
  };
  const line = formatLogfmt(entry(fields, { level: "warn", sentence: "connection closed: a=b" }));
  expect(line).toMatch(
    /^ts=2026-11-27T08:09:10\.007Z level=warn component=proxy\.access msg="connection closed: a=b" source=web /,
  );
  expect(parseLogfmt(line)).toEqual({
    ts: "2026-11-27T08:09:10.007Z",
    level: "warn",
    component: "proxy.access",
    msg: "connection closed: a=b",
    source: "web",
    reason: 'said "no"\nthen left',
    tls: "",
    bytes_in: "5",
    list: '["a",1]',
    esc: "\u001b[1m",
  });
  expect(formatLogfmt(entry({ token: "abc" }))).toContain(" token=[Redacted]");
});

test.each(LOG_FORMATS)("a hub writes %s", (format) => {
  const lines: string[] = [];
  createLogHub({ format, write: (line) => lines.push(line) })
    .log.child("a")
    .info("it happened", { to: "b c" });
  const read = {
    text: (line: string) =>
      line.endsWith('[INFO]  a: it happened: to="b c"\n') && { component: "a", msg: "it happened", to: "b c" },
    json: (line: string) => JSON.parse(line) as unknown,
    logfmt: parseLogfmt,
  }[format];
  expect(lines.map(read)).toMatchObject([{ component: "a", msg: "it happened", to: "b c" }]);
});
