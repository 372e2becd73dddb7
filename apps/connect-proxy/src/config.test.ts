import { ConfigError } from "@heddle/daemon";
import { describe, expect, test } from "vitest";
import { configurationLines } from "./banner.ts";
import { loadConfig } from "./config.ts";

const load = (argv: string[], env: Record<string, string> = {}) => loadConfig({ argv, env, readFile: () => "" });

function problemsOf(argv: string[]): string[] {
  try {
    load(argv);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

describe("where the proxy learns what to do", () => {
  test.each([
    ["a flag", ["-sidecar-for", "socat"], {}],
    ["two dashes", ["--sidecar-for=socat"], {}],
    ["CONNECT_SIDECAR_FOR", [], { CONNECT_SIDECAR_FOR: "socat" }],
    ["HEDDLE_ ahead of it", [], { CONNECT_SIDECAR_FOR: "x", HEDDLE_CONNECT_SIDECAR_FOR: "socat" }],
  ])("a sidecar by %s", (_title, argv, env) => {
    expect(load(argv, env).source).toEqual({ mode: "sidecar", serviceId: "socat" });
  });

  test("a registered proxy by CONNECT_PROXY_ID", () => {
    expect(load([], { CONNECT_PROXY_ID: "p" }).source).toEqual({ mode: "registered", proxyId: "p" });
  });

  test("flags alone, in every form of an upstream", () => {
    const { source, api } = load(
      [
        "-service=web",
        "-upstream=socat:9191",
        "-upstream=db:127.0.0.2:9192",
        "-upstream",
        "v6:[::1]:9193",
        "-upstream=find.db.query:9194",
      ],
      { CONSUL_HTTP_ADDR: "h:1", CONSUL_HTTP_TOKEN: "t" },
    );
    expect(api).toMatchObject({ address: "http://h:1/", token: "t" });
    if (source.mode !== "flags") throw new Error("not flags");
    expect(source.spec.upstreams.map(({ name, bind }) => [name, bind])).toEqual([
      ["socat", { host: "127.0.0.1", port: 9191 }],
      ["db", { host: "127.0.0.2", port: 9192 }],
      ["v6", { host: "::1", port: 9193 }],
      ["find.db", { host: "127.0.0.1", port: 9194 }],
    ]);
    expect(source.spec.upstreams.map(({ kind }) => kind)).toEqual(["service", "service", "service", "prepared_query"]);
    expect(configurationLines(source, "")).toEqual([
      "    Configuration mode: Flags",
      "               Service: web",
      "              Upstream: db => 127.0.0.2:9192",
      "              Upstream: find.db => :9194",
      "              Upstream: socat => :9191",
      "              Upstream: v6 => [::1]:9193",
      "       Public listener: Disabled",
    ]);
  });

  test("a listener from flags", () => {
    const { source } = load(["-service=web", "-listen=:8443", "-service-addr=127.0.0.1:8080", "-register"]);
    expect(source).toMatchObject({
      spec: { public: { bind: { host: "0.0.0.0", port: 8443 }, local: { host: "127.0.0.1", port: 8080 } } },
      register: { idSuffix: "" },
    });
    expect(configurationLines(source, "").at(-1)).toBe("       Public listener: :8443 => 127.0.0.1:8080");
  });
});

test.each([
  [[], ["-sidecar-for, -proxy-id, -service or -node must be specified so that proxy can configure itself"]],
  [["-sidecar-for=a", "-proxy-id=b"], ["-sidecar-for and -proxy-id exclude each other"]],
  [
    ["-service=a", "-listen=:1"],
    ["-service-addr must be specified with -listen so the proxy knows the backend service address"],
  ],
  [["-service=a", "-register"], ["-register is only useful with -service and -listen"]],
  [
    ["-proxy-id=a", "-upstream=bad", "-upstream=db:1", "-listen=nowhere", "-http-addr=ftp://x"],
    [
      "-upstream: invalid value 'bad': want name:port or name:address:port, such as 'db:8181'",
      "-listen: invalid value 'nowhere': want host:port or :port",
      "-http-addr: invalid agent address 'ftp://x': want host:port, http://host:port, https://host:port or unix:///path",
      "-listen is only useful with -service: a registered proxy says where it listens",
      "-upstream is only useful with -service: a registered proxy names its upstreams",
    ],
  ],
])("every problem of %j is reported", (argv, problems) => {
  expect(problemsOf(argv)).toEqual(problems);
});
