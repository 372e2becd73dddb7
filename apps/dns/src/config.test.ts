import { describe, expect, test } from "vitest";
import { loadConfig } from "./config.ts";
import { parseNameServer } from "./net/exchange.ts";

const load = (argv: string[], file?: unknown) =>
  loadConfig({
    argv: file === undefined ? argv : [...argv, "-config-file=x.json"],
    env: {},
    readFile: () => JSON.stringify(file),
  });

describe("loadConfig", () => {
  test("defaults are Consul's, except that truncation is told", () => {
    expect(load([])).toMatchObject({
      host: "127.0.0.1",
      port: 8600,
      domain: "consul.",
      udpAnswerLimit: 3,
      aRecordLimit: 0,
      enableTruncate: true,
      nodeTtl: 0,
      recursors: [],
      recursorTimeout: 2_000,
      metricsPort: -1,
    });
  });

  test("flags and file", () => {
    expect(
      load(["-service-ttl", "web=10s", "-service-ttl", "*=1m", "-enable-truncate=false", "-recursor-strategy=random"]),
    ).toMatchObject({
      serviceTtl: { web: 10_000, "*": 60_000 },
      enableTruncate: false,
      recursorStrategy: "random",
    });
    expect(load([], { recursors: ["8.8.8.8", "[::1]:5353"], only_passing: true, service_ttl: ["a=1s"] })).toMatchObject(
      {
        recursors: [
          { host: "8.8.8.8", port: 53 },
          { host: "::1", port: 5353 },
        ],
        onlyPassing: true,
        serviceTtl: { a: 1_000 },
      },
    );
  });

  test("every problem is told at once", () => {
    expect(() =>
      load(["-port=x", "-service-ttl=web", "-recursors=a:b:c", "-udp-answer-limit=9", "-recursor-strategy=any"]),
    ).toThrow(
      /-port: invalid value 'x'[^]*-service-ttl: [^]*-recursors: [^]*invalid recursor 'a:b:c'[^]*-recursor-strategy/,
    );
  });
});

test.each([
  ["8.8.8.8", "8.8.8.8", 53],
  ["8.8.8.8:5353", "8.8.8.8", 5353],
  ["::1", "::1", 53],
  ["[2001:db8::1]:99", "2001:db8::1", 99],
  ["resolver.example.com", "resolver.example.com", 53],
])("recursor %s", (text, host, port) => expect(parseNameServer(text)).toEqual({ host, port }));

test.each(["", "8.8.8.8:0", "8.8.8.8:99999", "[::1", "[x]:53", "a b"])("recursor '%s' is refused", (text) =>
  expect(() => parseNameServer(text)).toThrow(`invalid recursor '${text}'`),
);
