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
          local_idle_timeout_ms: 60_000,
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
      localIdleTimeoutMs: 60_000,
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
      "proxy 'db-sidecar-proxy' has no local_service_port or local_service_socket_path to forward to",
      'proxy.config.local_connect_timeout_ms: invalid value "1s": want milliseconds, at most a day',
      "proxy.config.handshake_timeout_ms: invalid value -1: want milliseconds, at most a day",
      "upstream 'c': local_bind_port is 0: want a port from 1 to 65535",
      "upstreams 'a' and 'b' both bind 127.0.0.1:9",
    ]);
    expect(skipped).toEqual([
      "upstream 'q': destination type 'magic' is not supported: want 'service' or 'prepared_query'",
    ]);
  });

  test("takes Unix sockets for ports, upstream and to the service", () => {
    const upstream = { DestinationName: "cache", LocalBindSocketPath: "/run/web/cache.sock" };
    const { spec, problems } = parseAgentService(
      service({ LocalServicePort: 0, LocalServiceSocketPath: "/run/db.sock", Upstreams: [upstream] }),
    );
    expect(problems).toEqual([]);
    expect(spec.public?.local.path).toBe("/run/db.sock");
    expect(spec.upstreams[0]).toMatchObject({ bind: { path: "/run/web/cache.sock" }, socketMode: 0o600 });
    expect(upstreamListenerName(spec.upstreams[0] as UpstreamSpec)).toBe("/run/web/cache.sock->service:default/cache");
  });

  test.each([
    [
      { LocalBindSocketPath: "run/x.sock" },
      `local_bind_socket_path: invalid value "run/x.sock": want the absolute path of a Unix socket`,
    ],
    [
      { LocalBindSocketPath: "/a\0b" },
      String.raw`local_bind_socket_path: invalid value "/a\u0000b": want the absolute path of a Unix socket`,
    ],
    [
      { LocalBindSocketPath: `/${"ä".repeat(50)}` },
      `local_bind_socket_path: "/${"ä".repeat(50)}" has 101 bytes: want at most 100`,
    ],
    [
      { LocalBindSocketPath: "/x", LocalBindSocketMode: "rw" },
      `local_bind_socket_mode: invalid value "rw": want octal permissions, such as "0660"`,
    ],
    [
      { LocalBindSocketPath: "/x", LocalBindPort: 80 },
      "has both local_bind_port 80 and local_bind_socket_path '/x': want one of them",
    ],
  ])("refuses the socket of %j", (given, expected) => {
    const { problems } = parseAgentService(service({ Upstreams: [{ DestinationName: "a", ...given }] }));
    expect(problems).toEqual([expect.stringContaining(expected)]);
  });

  test.each(["0660", "0o660", "660"])("reads the mode %s", (LocalBindSocketMode) => {
    const upstream = { DestinationName: "a", LocalBindSocketPath: "/x", LocalBindSocketMode };
    expect(parseAgentService(service({ Upstreams: [upstream] })).spec.upstreams[0]?.socketMode).toBe(0o660);
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
