/** Step 2 of the walk: `heddle agent -dev -enable-script-checks -config-dir=.`, what it says, and which files it takes. */
import { existsSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { expect, test } from "vitest";
import { makePlace, startAgent } from "../support/mesh.ts";
import { HEDDLE, start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

test("the banner, then the node, the CA, the services and the checks in the log; SIGTERM ends it with 0", async (ctx) => {
  needs(ctx, "curl");
  const place = await makePlace();
  const { agent, api, ports } = await startAgent(place);
  const self = await api<{ Config: { NodeID: string; NodeName: string } }>("/v1/agent/self");
  const { NodeID, NodeName } = self.Config;
  const end = agent.text.indexOf("\n\n==> Log data will now stream in as it occurs:\n\n");
  expect(agent.text.slice(0, end).split("\n")).toEqual([
    "==> Starting Heddle agent...",
    expect.stringMatching(/^ +Version: '\d+\.\d+\.\d+'$/),
    expect.stringMatching(`^ +Node ID: '${NodeID}'$`),
    expect.stringMatching(`^ +Node name: '${NodeName}'$`),
    expect.stringMatching(/^ +Datacenter: 'dc1' \(Segment: '<all>'\)$/),
    expect.stringMatching(/^ +Server: true \(Bootstrap: (?:true|false)\)$/),
    expect.stringMatching(
      `^ +Client Addr: \\[127.0.0.1\\] \\(HTTP: ${ports.http}, HTTPS: -1, gRPC: -1, DNS: ${ports.dns}\\)$`,
    ),
    expect.stringMatching(
      `^ +Cluster Addr: 127.0.0.1 \\(Internal API: 127.0.0.1:${ports.server}, LAN: 8301, WAN: 8302\\)$`,
    ),
    expect.stringMatching(/^ +Encrypt: .*TLS-Outgoing: false, TLS-Incoming: false/),
  ]);

  const { Roots } = await api<{ Roots: { ID: string }[] }>("/v1/connect/ca/roots");
  const log = (sentence: string) => agent.printed(new RegExp(`^    \\S+Z \\[INFO\\]  ${sentence}`, "m"));
  await log(`agent: member joined, marking health alive: member=${NodeName} address=127.0.0.1$`);
  await log(`agent.connect.ca: CA initialized: provider=consul root=${Roots[0]?.ID} `);
  await log(`agent: Synced node info: node=${NodeName}$`);
  await log("agent: Synced service: service=socat$");
  await log("agent: Synced service: service=socat-sidecar-proxy$");
  await log("agent: Synced check: check=service:socat-sidecar-proxy:1");
  await log("agent: Synced check: check=service:socat-sidecar-proxy:2");
  await log(`agent: Started HTTP server: address=http://127.0.0.1:${ports.http} `);

  expect(await agent.stop("SIGTERM")).toBe(0);
  expect(agent.err).toBe("");
});

test.for(["SIGINT", "SIGTERM"] as const)(
  "%s ends the agent with 0 at once, and who waits for a change is answered",
  async (signal, ctx) => {
    needs(ctx, "curl");
    const { agent, ports, ok } = await startAgent(await makePlace());
    const ask = (path: string) => start("curl", ["-sS", "-i", `http://127.0.0.1:${ports.http}${path}`]);
    const index = async (path: string) => {
      const first = ask(path);
      await first.exited;
      return /X-Consul-Index: (\d+)/.exec(first.out)?.[1] ?? "";
    };
    const paths = ["/v1/catalog/services", "/v1/agent/connect/ca/roots", "/v1/connect/ca/roots", "/v1/kv/a?recurse"];
    await ok("kv", "put", "a", "b");
    const waiting = [];
    for (const path of paths) {
      const next = ask(`${path}${path.includes("?") ? "&" : "?"}index=${await index(path)}&wait=60s`);
      waiting.push(next);
    }
    let n = 0;
    const monitor = start(HEDDLE, ["monitor"], { env: { HEDDLE_HTTP_ADDR: `127.0.0.1:${ports.http}` } });
    await expect
      .poll(
        async () => {
          await ok("services", "register", `-name=seen-${n++}`);
          return monitor.out;
        },
        { timeout: 10_000 },
      )
      .toContain("service=seen-");
    const begun = performance.now();
    expect(await agent.stop(signal)).toBe(0);
    expect(performance.now() - begun).toBeLessThan(2_000);
    for (const client of waiting) {
      expect(await client.exited).toBe(0);
      expect(client.out).toMatch(/^HTTP\/1\.1 200 OK/);
    }
    expect(await monitor.exited).toBe(1);
    expect(monitor.err).toContain("Remote side ended the monitor!");
  },
);

test("JSON and HCL files load together and in name order, with services and checks of every form", async (ctx) => {
  needs(ctx, "curl");
  const place = await makePlace();
  place.write("10-node.json", { node_name: "first", node_meta: { rack: "1" }, datacenter: "dc1" });
  place.write(
    "20-node.hcl",
    'node_name = "second"\nservice {\n  name = "one"\n  port = 7001\n  tags = ["a", "b"]\n}\n',
  );
  place.write("30-more.json", {
    services: [
      { name: "two", port: 7002 },
      { name: "three", port: 7003, check: { ttl: "30s" } },
    ],
    check: { id: "disk", name: "disk", args: ["/bin/true"], interval: "1s" },
  });
  place.write(
    "40-more.hcl",
    'services = [{ name = "four" }, { name = "five" }]\nchecks = [{ name = "beat", ttl = "1m" }]\n',
  );
  place.write("50-note.txt", "no configuration, and not read");
  const { agent, api } = await startAgent(place);
  expect(agent.text).toMatch(/Node name: 'second'\n/);
  const services = await api<Record<string, { Port: number; Tags: string[] }>>("/v1/agent/services");
  expect(Object.keys(services).toSorted()).toEqual([
    "five",
    "four",
    "one",
    "socat",
    "socat-sidecar-proxy",
    "three",
    "two",
  ]);
  expect(services.one).toMatchObject({ Port: 7001, Tags: ["a", "b"] });
  const checks = () => api<Record<string, { Status: string }>>("/v1/agent/checks");
  expect(Object.keys(await checks()).toSorted()).toEqual([
    "beat",
    "disk",
    "service:socat-sidecar-proxy:1",
    "service:socat-sidecar-proxy:2",
    "service:three",
  ]);
  // -enable-script-checks: the script runs, and its verdict arrives.
  await expect.poll(async () => (await checks()).disk?.Status).toBe("passing");
});

test("a script check is refused where scripts are not enabled", async () => {
  const place = await makePlace();
  place.write("script.json", { check: { name: "disk", args: ["/bin/true"], interval: "10s" } });
  const agent = start(HEDDLE, ["agent", "-dev", "-config-dir=."], { cwd: place.configDir });
  expect(await agent.exited).toBe(1);
  expect(agent.text).toMatch(/script\.json:\d+:\d+.*enable_script_checks|script.*enable_script_checks/s);
});

test.each([
  ["unknown.json", '{\n  "node_name": "n",\n  "no_such_key": 1\n}', /unknown\.json:3:3: unknown key 'no_such_key'/],
  ["near.hcl", 'node_nam = "n"\n', /near\.hcl:1:1: unknown key 'node_nam': did you mean 'node_name'/],
  [
    "inside.json",
    '{\n "service": {\n  "name": "x",\n  "prot": 1 } }',
    /inside\.json:4:3: unknown key 'prot' in service: did you mean 'port'/,
  ],
  [
    "type.hcl",
    'service {\n  name = "x"\n  port = "many"\n}\n',
    /type\.hcl:3:3: service\.port: invalid value "many": want a whole number/,
  ],
  [
    "ports.json",
    '{\n "ports": { "http": "abc" }\n}',
    /ports\.json:2:13: ports\.http: invalid value "abc": want a port up to 65535/,
  ],
  ["value.hcl", 'log_level = "loud"\n', /value\.hcl:1:1: log_level: invalid value 'loud': want one of /],
  ["syntax.json", '{\n  "node_name" "n"\n}', /syntax\.json:2:15: /],
  ["syntax.hcl", 'service {\n  name = = "x"\n}\n', /syntax\.hcl:2:10: /],
])(
  "%s: the mistake is told with file, line, key and what is accepted, and nothing starts",
  async (name, text, told) => {
    const place = await makePlace();
    place.write(name, text);
    const agent = start(HEDDLE, ["agent", "-dev", "-config-dir=."], { cwd: place.configDir });
    expect(await agent.exited).toBe(1);
    expect(agent.text).toMatch(told);
    expect(agent.text).not.toMatch(/Starting Heddle agent|Started HTTP server/);
  },
);

test("all mistakes of all files are told at once", async () => {
  const place = await makePlace();
  place.write("a.json", '{ "nope": 1, "ports": { "dns": "x" } }');
  place.write("b.hcl", "service { port = 1 }\nneither = 2\n");
  const { status, err } = await place.heddle("agent", "-dev", `-config-dir=${place.configDir}`);
  expect(status).toBe(1);
  for (const told of ["a.json:1:3", "a.json:1:", "ports.dns", "b.hcl:2:1", "'neither'", "name"])
    expect(err).toContain(told);
});

test("Consul's flags start it, -flag and --flag alike, and what has no meaning here is accepted with a line", async (ctx) => {
  needs(ctx, "curl");
  const place = await makePlace();
  place.remove("ports.hcl");
  const { http, dns, server, another, sidecar, sidecarMax } = place.ports;
  const flags = [
    ...["-server", "--bootstrap-expect=1", "-data-dir", `${place.dir}/data`, "-node=walker", "--node-meta=rack:7"],
    ...[
      "-node-id=6a8b5a3c-1f6f-4b6e-9f0e-2f2f2f2f2f2f",
      "-bind=127.0.0.1",
      "--advertise",
      "127.0.0.1",
      "-client=127.0.0.1",
    ],
    ...[
      "-datacenter=dc7",
      "-domain=mesh.",
      `-http-port=${http}`,
      `--dns-port=${dns}`,
      "-grpc-port=-1",
      `-server-port=${server}`,
    ],
    ...[`-serf-lan-port=${another}`, "-serf-wan-port=-1", "-log-level=debug", "-enable-local-script-checks", "-ui"],
    ...[
      "-pid-file",
      `${place.dir}/agent.pid`,
      "-hcl",
      `ports { sidecar_min_port = ${sidecar} sidecar_max_port = ${sidecarMax} }`,
    ],
    ...["-raft-protocol=3", "-rejoin", "-recursor=127.0.0.1"],
  ];
  const { agent, api } = await startAgent(place, flags);
  for (const part of ["'walker'", "'dc7'", "6a8b5a3c-1f6f-4b6e-9f0e-2f2f2f2f2f2f", `LAN: ${another}`, `HTTP: ${http}`])
    expect(agent.text).toContain(part);
  await agent.printed(/\[WARN\] .*raft_protocol.*has no Raft/);
  await agent.printed("Heddle agent running!");
  expect(await api<string[]>("/v1/catalog/datacenters")).toEqual(["dc7"]);
  expect(await api<object[]>("/v1/catalog/nodes?node-meta=rack:7")).toHaveLength(1);
  expect(Number(readFileSync(`${place.dir}/agent.pid`, "utf8"))).toBe(agent.child.pid);
  expect(await agent.stop()).toBe(0);
  expect(existsSync(`${place.dir}/agent.pid`)).toBe(false);
});

test("the agent's own keys are accepted by Consul's names", async (ctx) => {
  needs(ctx, "curl");
  const place = await makePlace();
  place.write("keys.json", ALL_KEYS);
  const { agent, api } = await startAgent(place);
  const { Config } = await api<{ Config: { NodeName: string; Datacenter: string } }>("/v1/agent/self");
  expect(Config).toMatchObject({ NodeName: "keys", Datacenter: "dc2" });
  expect(readFileSync(`${place.dir}/agent.log`, "utf8")).toContain("Synced node info: node=keys");
  expect(Number(readFileSync(`${place.dir}/agent.pid`, "utf8"))).toBe(agent.child.pid);
  for (const key of ["gossip_lan", "performance.raft_multiplier"])
    expect(agent.text.split("\n").filter((line) => line.includes(key))).toHaveLength(1);
});

test("a port that is taken is named with its holder, and nothing is left running", async (ctx) => {
  needs(ctx, "socat");
  const place = await makePlace();
  const holder = start("socat", [`tcp-l:${place.ports.http},bind=127.0.0.1,fork`, "exec:/bin/cat"]);
  const agent = () => start(HEDDLE, ["agent", "-dev", "-config-dir=."], { cwd: place.configDir });
  const isOpen = () =>
    new Promise((resolve) => {
      const socket = connect(place.ports.http, "127.0.0.1", () => resolve(socket.destroy() && true));
      socket.on("error", () => resolve(false));
    });
  await expect.poll(isOpen).toBe(true);
  const second = agent();
  expect(await second.exited).toBe(1);
  expect(second.text).toMatch(new RegExp(`${place.ports.http}.*socat.*${holder.child.pid}`));
});

const ALL_KEYS = {
  node_name: "keys",
  node_id: "6a8b5a3c-1f6f-4b6e-9f0e-2f2f2f2f2f2e",
  node_meta: { a: "b" },
  datacenter: "dc2",
  primary_datacenter: "dc2",
  domain: "consul.",
  alt_domain: "mesh.",
  bind_addr: "127.0.0.1",
  advertise_addr: "127.0.0.1",
  client_addr: "127.0.0.1",
  addresses: { http: "127.0.0.1", dns: "127.0.0.1" },
  server: true,
  bootstrap: false,
  retry_join: [],
  start_join: [],
  log_level: "debug",
  log_json: false,
  log_file: "../agent.log",
  pid_file: "../agent.pid",
  enable_debug: false,
  enable_script_checks: true,
  enable_local_script_checks: true,
  check_update_interval: "5m",
  recursors: ["127.0.0.1"],
  dns_config: { allow_stale: true, node_ttl: "1s", service_ttl: { "*": "1s" }, only_passing: true, a_record_limit: 3 },
  http_config: { response_headers: { "X-Walk": "yes" }, block_endpoints: [] },
  telemetry: { prometheus_retention_time: "30s", disable_hostname: true },
  limits: { http_max_conns_per_client: 200, kv_max_value_size: 524_288 },
  session_ttl_min: "5s",
  connect: { enabled: true, ca_provider: "consul", ca_config: { leaf_cert_ttl: "24h" } },
  config_entries: {
    bootstrap: [{ kind: "proxy-defaults", name: "global", config: { local_connect_timeout_ms: 1000 } }],
  },
  acl: { enabled: false, default_policy: "allow" },
  ui_config: { enabled: true },
  leave_on_terminate: true,
  skip_leave_on_interrupt: true,
  verify_incoming: false,
  verify_outgoing: false,
  verify_server_hostname: false,
  gossip_lan: { gossip_nodes: 3 },
  performance: { raft_multiplier: 1 },
};
