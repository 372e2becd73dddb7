import { describe, expect, it } from "vitest";
import { expandSidecar, parseServiceDefinition } from "./index.ts";

const expand = (input: object, port = 21_000) =>
  expandSidecar(parseServiceDefinition(input, { source: "file" }), () => port);

describe("expandSidecar", () => {
  it("asks for a port where a registration gives none that could be", () => {
    const body = { Name: "web", Connect: { SidecarService: { Port: -1 } } };
    expect(expandSidecar(parseServiceDefinition(body), () => 21_003)?.Port).toBe(21_003);
  });

  it("refuses a check of the sidecar as Consul does", () => {
    const body = { Name: "web", Connect: { SidecarService: { Check: { TCP: "127.0.0.1:1" } } } };
    expect(() => parseServiceDefinition(body)).toThrow(
      "Bad request: Invalid check in sidecar_service: Interval must be > 0 for Script, HTTP, or TCP checks",
    );
  });

  it("is nothing without a sidecar_service", () => {
    expect(expand({ name: "web" })).toBeUndefined();
    expect(expand({ name: "web", connect: { native: true } })).toBeUndefined();
  });

  it("makes the proxy of the article", () => {
    expect(
      expand({
        name: "socat",
        port: 8181,
        tags: ["t"],
        meta: { m: "1" },
        token: "s",
        connect: { sidecar_service: {} },
      }),
    ).toEqual({
      Kind: "connect-proxy",
      ID: "socat-sidecar-proxy",
      Name: "socat-sidecar-proxy",
      Tags: ["t"],
      Address: "",
      TaggedAddresses: {},
      Meta: { m: "1" },
      Port: 21_000,
      Weights: { Passing: 1, Warning: 1 },
      EnableTagOverride: false,
      Token: "s",
      Proxy: {
        DestinationServiceName: "socat",
        DestinationServiceID: "socat",
        LocalServiceAddress: "127.0.0.1",
        LocalServicePort: 8181,
        MeshGateway: {},
        Expose: {},
      },
      Checks: [
        {
          CheckID: "service:socat-sidecar-proxy:1",
          Name: "Connect Sidecar Listening",
          Notes: "",
          ServiceID: "socat-sidecar-proxy",
          TCP: "127.0.0.1:21000",
          IntervalMs: 10_000,
        },
        {
          CheckID: "service:socat-sidecar-proxy:2",
          Name: "Connect Sidecar Aliasing socat",
          Notes: "",
          ServiceID: "socat-sidecar-proxy",
          AliasService: "socat",
        },
      ],
    });
  });

  it("keeps what the block says, and asks for no port where there is one", () => {
    const service = parseServiceDefinition({
      id: "api-1",
      name: "api",
      port: 9100,
      tags: ["x"],
      address: "10.0.0.1",
      connect: {
        sidecar_service: {
          name: "api-side",
          port: 22_001,
          tags: ["edge"],
          meta: { z: "9" },
          token: "own",
          checks: [{ name: "sc", ttl: "60s" }],
          proxy: {
            local_service_port: 9101,
            local_service_address: "127.0.0.9",
            upstreams: [{ destination_name: "web", local_bind_port: 5001 }],
          },
        },
      },
    });
    const sidecar = expandSidecar(service, () => {
      throw new Error("no port is needed");
    });
    expect(sidecar).toMatchObject({
      ID: "api-1-sidecar-proxy",
      Name: "api-side",
      Port: 22_001,
      Tags: ["edge"],
      Meta: { z: "9" },
      Address: "10.0.0.1",
      Token: "own",
      Proxy: {
        DestinationServiceName: "api",
        DestinationServiceID: "api-1",
        LocalServiceAddress: "127.0.0.9",
        LocalServicePort: 9101,
        Upstreams: [{ DestinationType: "service", DestinationName: "web", LocalBindPort: 5001, MeshGateway: {} }],
      },
    });
    expect(sidecar?.Checks).toEqual([
      {
        CheckID: "service:api-1-sidecar-proxy",
        Name: "sc",
        Notes: "",
        ServiceID: "api-1-sidecar-proxy",
        TTLMs: 60_000,
      },
    ]);
  });

  it("reaches a service on a Unix socket there, unless it says where else", () => {
    const localOf = (proxy: object) => {
      const service = parseServiceDefinition({
        name: "api",
        socket_path: "/run/api.sock",
        connect: { sidecar_service: { proxy } },
      });
      const { LocalServiceSocketPath, LocalServiceAddress, LocalServicePort } =
        expandSidecar(service, () => 1)?.Proxy ?? {};
      return LocalServiceSocketPath ?? `${LocalServiceAddress}:${LocalServicePort}`;
    };
    expect(localOf({})).toBe("/run/api.sock");
    expect(localOf({ local_service_socket_path: "/run/other.sock" })).toBe("/run/other.sock");
    expect(localOf({ local_service_address: "127.0.0.2", local_service_port: 9 })).toBe("127.0.0.2:9");
  });

  it("asks for a port by the sidecar's id", () => {
    const asked: string[] = [];
    const service = parseServiceDefinition({ ID: "w1", Name: "web", Connect: { SidecarService: {} } });
    expandSidecar(service, (id) => asked.push(id));
    expect(asked).toEqual(["w1-sidecar-proxy"]);
  });
});
