import { describe, expect, it } from "vitest";
import { loadAgentConfig } from "./load.ts";
import { BASE, flags, load, problemsOf } from "./load-testing.ts";

describe("loadAgentConfig", () => {
  it("gives the same for HCL and JSON", () => {
    const hcl = `
      data_dir = "/data" bind_addr = "127.0.0.1" server = true bootstrap_expect = 1
      node_meta { rack = "r9" }
      ports { http = 0x2134 dns = -1 }
      retry_join = ["10.0.0.1", "10.0.0.2"]
      dns_config { service_ttl { "*" = "22s" } soa { min_ttl = 44 } }
      connect { ca_config { leaf_cert_ttl = "1h" csr_max_per_second = 0 } }
      config_entries { bootstrap { kind = "proxy-defaults" name = "global" config { protocol = "http" } } }
      service { name = "web" port = 80 check { tcp = "a:1" interval = "5s" } connect { sidecar_service {} } }
      services { name = "a" }
      services { name = "b" }
      check { name = "c" ttl = "5s" }
    `;
    const json = {
      ...BASE,
      server: true,
      bootstrap_expect: 1,
      node_meta: { rack: "r9" },
      ports: { http: 8500, dns: -1 },
      retry_join: ["10.0.0.1", "10.0.0.2"],
      dns_config: { service_ttl: { "*": "22s" }, soa: { min_ttl: 44 } },
      connect: { ca_config: { LeafCertTTL: "1h", CSRMaxPerSecond: 0 } },
      config_entries: { bootstrap: [{ kind: "proxy-defaults", name: "global", config: { protocol: "http" } }] },
      service: {
        name: "web",
        port: 80,
        check: { tcp: "a:1", interval: "5s" },
        connect: { sidecar_service: {} },
      },
      services: [{ name: "a" }, { name: "b" }],
      check: { name: "c", ttl: "5s" },
    };
    const config = load({ "a.hcl": hcl });
    expect(config).toEqual(load({ "a.json": json }));
    expect(config).toMatchObject({
      bootstrap: true,
      ports: { http: 8500, dns: -1 },
      dns: { serviceTtlMs: { "*": 22_000 }, soa: { minTtl: 44, refresh: 3_600 } },
      connect: { enabled: true, caConfig: { LeafCertTTL: "1h", CSRMaxPerSecond: 0 } },
    });
    expect(config.services.map((s) => s.ID)).toEqual(["web", "a", "b"]);
    expect(config.checks).toEqual([{ CheckID: "c", Name: "c", Notes: "", ServiceID: "", TTLMs: 5_000, Type: "" }]);
  });

  it("is frozen all the way down", () => {
    const config = load({ "a.json": { ...BASE, service: { name: "x", meta: { a: "b" } } } });
    expect(Object.isFrozen(config)).toBe(true);
    expect(() => Object.assign(config.ports, { http: 1 })).toThrow(TypeError);
    expect(() => Object.assign(config.services[0]?.Meta ?? {}, { a: "c" })).toThrow(TypeError);
  });

  it("has Consul's settings for development", () => {
    expect(flags()).toMatchObject({
      devMode: true,
      server: true,
      bootstrap: true,
      bindAddr: "127.0.0.1",
      advertiseAddr: "127.0.0.1",
      dataDir: "",
      enableDebug: true,
      log: { level: "debug" },
      ports: { http: 8500, https: -1, dns: 8600, grpc: 8502, server: 8300, sidecarMin: 21_000, sidecarMax: 21_255 },
      uiConfig: { enabled: true },
      connect: { enabled: true },
      scripts: { remote: false, local: false },
      leaveOnTerminate: false,
      skipLeaveOnInterrupt: true,
      warnings: [],
    });
  });

  it("merges as Consul does: later overrides, lists append, flags' lists go first, maps merge", () => {
    const files = {
      "b.json": { node_name: "b", retry_join: ["b"], node_meta: { b: "1", x: "b" }, ports: { dns: 2 } },
      "a.json": { ...BASE, node_name: "a", retry_join: ["a"], node_meta: { a: "1", x: "a" }, ports: { http: 1 } },
      "c.hcl": 'retry_join = ["c"]',
      "ignored.txt": "nonsense {",
    };
    const argv = [
      "-retry-join=flag",
      "-node-meta=x:flag",
      "-node=flag",
      "-hcl",
      'retry_join = ["hcl"] log_level = "warn"',
    ];
    expect(load(files, argv)).toMatchObject({
      nodeName: "flag",
      retryJoin: ["flag", "a", "b", "c", "hcl"],
      nodeMeta: { a: "1", b: "1", x: "flag" },
      ports: { http: 1, dns: 2 },
      log: { level: "warn" },
    });
    expect(load(files)).toMatchObject({ nodeName: "b", nodeMeta: { x: "b" } });
  });

  it("reads variables ahead of files and behind flags", () => {
    const env = {
      HEDDLE_AGENT_NODE: "env",
      HEDDLE_AGENT_HTTP_PORT: "9500",
      HEDDLE_AGENT_RETRY_JOIN: "a, b",
      HEDDLE_AGENT_CATALOG_ADDR: "catalog:8300",
      HEDDLE_AGENT_NODE_META: "k:v",
    };
    expect(load({ "a.json": { ...BASE, node_name: "file" } }, ["-http-port", "9501"], env)).toMatchObject({
      nodeName: "env",
      ports: { http: 9501 },
      retryJoin: ["a", "b"],
      nodeMeta: { k: "v" },
      internal: { catalogAddr: "http://catalog:8300", caAddr: "" },
    });
    const bad = problemsOf(() => load({ "a.json": BASE }, [], { HEDDLE_AGENT_HTTP_PORT: "x" }));
    expect(bad).toEqual([
      'HEDDLE_AGENT_HTTP_PORT: ports.http: invalid value "x": want a port up to 65535, or -1 for none',
    ]);
  });

  it.each<[string[], object]>([
    [["-data-dir", "/d", "-server", "-bootstrap-expect=1"], { dataDir: "/d", server: true, bootstrap: true }],
    [
      ["--data-dir=/d", "--client=127.0.0.1 ::1"],
      { clientAddrs: ["127.0.0.1", "::1"], addresses: { dns: ["127.0.0.1", "::1"] } },
    ],
    [
      ["-data-dir=/d", "-enable-script-checks=true", "-ui=false"],
      { scripts: { remote: true, local: true }, uiConfig: { enabled: false } },
    ],
    [["-data-dir=/d", "-enable-local-script-checks"], { scripts: { remote: false, local: true } }],
    [
      ["-data-dir=/d", "-bind=10.1.1.1", "-advertise=10.2.2.2"],
      { bindAddr: "10.1.1.1", advertiseAddr: "10.2.2.2", advertiseAddrWan: "10.2.2.2" },
    ],
    [
      ["-data-dir=/d", "-recursor=8.8.8.8", "-recursor=[::1]:5353", "-recursor=8.8.8.8"],
      { recursors: ["8.8.8.8", "[::1]:5353"] },
    ],
    [
      ["-data-dir=/d", "-domain=Mesh.", "-alt-domain", "mesh.test", "-datacenter=EAST-1"],
      { domain: "Mesh", altDomain: "mesh.test", datacenter: "east-1" },
    ],
    [
      ["-data-dir=/d", "-default-query-time=1m", "-log-json", "-pid-file=/p"],
      { defaultQueryTimeMs: 60_000, log: { json: true }, pidFile: "/p" },
    ],
    [["-data-dir=/d", "-grpc-port=1", "-https-port=-1", "-dns-port=0"], { ports: { grpc: 1, https: -1, dns: 0 } }],
  ])("reads %j", (argv, part) => expect(loadAgentConfig({ argv })).toMatchObject(part));

  it("accepts what Heddle does not have, and says so in a line each", () => {
    const { warnings } = load({
      "a.json": `{"data_dir":"/d","bind_addr":"127.0.0.1",
 "raft_protocol": 3,
 "encrypt": "pUqJrVyVRj5jsiYEkM/tFQYfWyJIv4s3XkvDwy7Cu5s=",
 "gossip_lan": { "probe_interval": "1s" },
 "performance": { "raft_multiplier": 1 },
 "disable_update_check": true, "disable_host_node_id": true, "disable_remote_exec": true,
 "discard_check_output": true, "translate_wan_addrs": true, "enable_central_service_config": true,
 "reconnect_timeout": "72h", "autopilot": { "cleanup_dead_servers": true },
 "telemetry": { "prometheus_retention_time": "60s", "prefix_filter": ["x"] },
 "node_name": "a", "node_name": "two words"}`,
    });
    expect(warnings).toEqual([
      "dir/a.json:10:20: key 'node_name' was given at line 10 already; that of line 10 counts",
      "dir/a.json:10:20: node_name: 'two words' will not be found over DNS: that takes letters, digits and dashes",
      "dir/a.json:9:53: telemetry.prefix_filter: rule 'x' has no effect: want '+' or '-' at its beginning",
      expect.stringMatching(/^dir\/a\.json:2:2: raft_protocol is accepted and has no effect: Heddle has no Raft/),
      expect.stringMatching(/^dir\/a\.json:3:2: encrypt is accepted and has no effect: Heddle has no gossip/),
      expect.stringMatching(/^dir\/a\.json:4:2: gossip_lan is accepted/),
      expect.stringMatching(/^dir\/a\.json:5:19: performance\.raft_multiplier is accepted/),
      expect.stringMatching(/^dir\/a\.json:8:30: autopilot is accepted/),
    ]);
  });

  it("denies connections where a policy says deny", () => {
    const policy = (extra: object) => load({ "a.json": { ...BASE, ...extra } }).defaultIntentionPolicy;
    expect(policy({})).toBe("allow");
    expect(policy({ default_intention_policy: "deny" })).toBe("deny");
    expect(policy({ acl: { enabled: true, default_policy: "deny" } })).toBe("deny");
    expect(policy({ acl: { default_policy: "deny" } })).toBe("deny");
    expect(policy({ acl: { default_policy: "deny" }, default_intention_policy: "allow" })).toBe("allow");
  });

  it("reads the newer TLS block over the flat keys", () => {
    const { tls } = load({
      "a.json": {
        ...BASE,
        ca_file: "ca.pem",
        cert_file: "c.pem",
        key_file: "k.pem",
        verify_outgoing: true,
        verify_incoming_https: true,
        tls: { defaults: { tls_min_version: "TLSv1_3" }, https: { cert_file: "h.pem", key_file: "hk.pem" } },
      },
    });
    expect(tls).toMatchObject({
      caFile: "ca.pem",
      certFile: "c.pem",
      minVersion: "TLSv1.3",
      verifyIncoming: false,
      verifyOutgoing: true,
      https: { certFile: "h.pem", keyFile: "hk.pem", verifyIncoming: true },
      grpc: { certFile: "c.pem", verifyIncoming: false },
    });
  });

  it("loads the files of the conformance kit and of the benchmarks", () => {
    const kit = {
      node_name: "kit",
      data_dir: "/d",
      ports: { http: 1, dns: 2, server: 3, serf_lan: 4, serf_wan: 5, grpc: 6 },
    };
    const areas: [Record<string, string | object>, object][] = [
      [
        {
          "dns.json": {
            alt_domain: "mesh.test",
            dns_config: {
              enable_truncate: true,
              only_passing: true,
              node_ttl: "11s",
              service_ttl: { "*": "22s", api: "33s" },
              udp_answer_limit: 5,
              a_record_limit: 20,
              soa: { min_ttl: 44, refresh: 55, retry: 66, expire: 77 },
            },
          },
        },
        { dns: { nodeTtlMs: 11_000, soa: { minTtl: 44, refresh: 55, retry: 66, expire: 77 } } },
      ],
      [
        {
          "http.json": {
            translate_wan_addrs: true,
            http_config: { response_headers: { "X-Kit": "yes" }, block_endpoints: ["/v1/event/fire"] },
          },
        },
        { translateWanAddrs: true, http: { responseHeaders: { "X-Kit": "yes" } } },
      ],
      [
        { "telemetry.json": { telemetry: { prometheus_retention_time: "60s", disable_hostname: true } } },
        { telemetry: { prometheusRetentionTimeMs: 60_000, disableHostname: true } },
      ],
      [
        {
          "names.json": {
            datacenter: "east-1",
            domain: "mesh",
            node_meta: { rack: "r9", os: "any" },
            advertise_addr_wan: "192.0.2.77",
          },
        },
        { taggedAddresses: { lan: "127.0.0.1", lan_ipv4: "127.0.0.1", wan: "192.0.2.77", wan_ipv4: "192.0.2.77" } },
      ],
      [{ "scripts.json": { enable_script_checks: true } }, { scripts: { remote: true, local: true } }],
      [
        {
          "20-hcl.hcl":
            'service {\n  id   = "hcl-1"\n  name = "hcl"\n  port = 55\n  tags = ["x"]\n  check {\n    name     = "tcp"\n    tcp      = "127.0.0.1:1"\n    interval = "1s"\n  }\n  proxy {}\n}\nchecks = [{ name = "bound", service_id = "hcl-1", ttl = "10m" }]\n',
        },
        {
          services: [{ ID: "hcl-1", Checks: [{ CheckID: "service:hcl-1", Name: "tcp" }] }],
          checks: [{ CheckID: "bound", ServiceID: "hcl-1" }],
        },
      ],
      [
        {
          "bench.json": {
            bind_addr: "127.0.0.1",
            client_addr: "127.0.0.1",
            ports: { https: -1 },
            log_level: "err",
            disable_update_check: true,
            disable_host_node_id: true,
            limits: { http_max_conns_per_client: 65_536 },
            performance: { raft_multiplier: 1 },
            connect: { enabled: true, ca_config: { csr_max_per_second: 0 } },
            services: [],
          },
        },
        {
          log: { level: "error" },
          limits: { httpMaxConnsPerClient: 65_536 },
          connect: { caConfig: { CSRMaxPerSecond: 0 } },
        },
      ],
    ];
    for (const [files, part] of areas) expect(load({ "00-kit.json": kit, ...files }, ["-dev"])).toMatchObject(part);
  });
});
