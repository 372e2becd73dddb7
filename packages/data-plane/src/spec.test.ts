import { describe, expect, test } from "vitest";
import { formatHostPort, parseAgentService, parseHostPort, upstreamListenerName, type UpstreamSpec } from "./spec.ts";

const service = (proxy: Record<string, unknown>, more: Record<string, unknown> = {}) => ({
  Kind: "connect-proxy",
  ID: "db-sidecar-proxy",
  Service: "db-sidecar-proxy",
  Port: 21000,
  Proxy: { DestinationServiceName: "db", LocalServiceAddress: "127.0.0.1", LocalServicePort: 5432, ...proxy },
  ...more,
});

describe("a registration", () => {
  test("gets Consul's defaults", () => {
    expect(parseAgentService(service({ Upstreams: [{ DestinationName: "cache", LocalBindPort: 9191 }] }))).toEqual({
      problems: [],
      skipped: [],
      spec: {
        service: "db",
        namespace: "default",
        public: {
          bind: { host: "0.0.0.0", port: 21000 },
          local: { host: "127.0.0.1", port: 5432 },
          localConnectTimeoutMs: 1_000,
          handshakeTimeoutMs: 10_000,
          maxConnections: 16_384,
          maxHandshakesPerSource: 1_024,
        },
        upstreams: [
          {
            name: "cache",
            kind: "service",
            namespace: "default",
            datacenter: "",
            bind: { host: "127.0.0.1", port: 9191 },
            connectTimeoutMs: 10_000,
            maxConnections: 16_384,
          },
        ],
      },
    });
  });

  test("takes each key of proxy.config, numbers also as text", () => {
    const { spec, problems } = parseAgentService(
      service({
        Config: {
          bind_address: "127.0.0.2",
          bind_port: "2000",
          local_service_address: "[::1]:99",
          local_connect_timeout_ms: 5,
          handshake_timeout_ms: "6",
          max_inbound_connections: 7,
          max_handshakes_per_source: "5",
        },
        Upstreams: [
          {
            DestinationName: "cache",
            DestinationType: "service",
            Datacenter: "dc2",
            LocalBindAddress: "127.0.0.3",
            LocalBindPort: 1,
            Config: { connect_timeout_ms: 8, limits: { max_connections: 9 } },
          },
        ],
      }),
    );
    expect(problems).toEqual([]);
    expect(spec.public).toEqual({
      bind: { host: "127.0.0.2", port: 2000 },
      local: { host: "::1", port: 99 },
      localConnectTimeoutMs: 5,
      handshakeTimeoutMs: 6,
      maxConnections: 7,
      maxHandshakesPerSource: 5,
    });
    expect(spec.upstreams[0]).toMatchObject({ datacenter: "dc2", connectTimeoutMs: 8, maxConnections: 9 });
    expect(upstreamListenerName(spec.upstreams[0] as UpstreamSpec)).toBe("127.0.0.3:1->service:default/cache?dc=dc2");
  });

  test("names every problem", () => {
    const { problems, skipped } = parseAgentService(
      service(
        {
          DestinationServiceName: "",
          LocalServicePort: 0,
          Config: {
            bind_address: 1,
            handshake_timeout_ms: -1,
            local_connect_timeout_ms: "1s",
            local_service_address: "x",
          },
          Upstreams: [
            { DestinationName: "a", LocalBindPort: 9 },
            { DestinationName: "b", LocalBindPort: 9 },
            { DestinationName: "c" },
            { DestinationName: "q", DestinationType: "magic", LocalBindPort: 10 },
          ],
        },
        { Kind: "" },
      ),
    );
    expect(problems).toEqual([
      "service 'db-sidecar-proxy' is of kind '': want 'connect-proxy'",
      "proxy 'db-sidecar-proxy' names no destination service",
      "proxy.config.bind_address: invalid value 1: want text",
      "proxy.config.local_service_address: invalid value 'x': want host:port",
      "proxy 'db-sidecar-proxy' has no local_service_port to forward to",
      'proxy.config.local_connect_timeout_ms: invalid value "1s": want milliseconds, at most a day',
      "proxy.config.handshake_timeout_ms: invalid value -1: want milliseconds, at most a day",
      "upstream 'c': local_bind_port is 0: want a port from 1 to 65535",
      "upstreams 'a' and 'b' both bind 127.0.0.1:9",
    ]);
    expect(skipped).toEqual([
      "upstream 'q': destination type 'magic' is not supported: want 'service' or 'prepared_query'",
    ]);
  });

  test("may have a prepared query as an upstream", () => {
    const upstream = { DestinationName: "find.db", DestinationType: "prepared_query", LocalBindPort: 10 };
    const { spec, skipped } = parseAgentService(service({ Upstreams: [upstream] }));
    expect(skipped).toEqual([]);
    expect(upstreamListenerName(spec.upstreams[0] as UpstreamSpec)).toBe(
      "127.0.0.1:10->prepared_query:default/find.db",
    );
  });
});

test.each([
  ["127.0.0.1:80", { host: "127.0.0.1", port: 80 }],
  [":80", { host: "", port: 80 }],
  ["[::1]:80", { host: "::1", port: 80 }],
  ["db.internal:1", { host: "db.internal", port: 1 }],
  ["::1:80", undefined],
  ["host", undefined],
  ["host:70000", undefined],
  ["a b:1", undefined],
  ["host:", undefined],
])("parseHostPort(%j)", (text, expected) => {
  expect(parseHostPort(text)).toEqual(expected);
  if (expected) expect(formatHostPort(expected)).toBe(text);
});
