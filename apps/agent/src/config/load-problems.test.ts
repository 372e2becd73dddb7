import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { loadAgentConfig } from "./load.ts";
import { BASE, flags, folder, load, problemsOf } from "./load-testing.ts";

describe("what is wrong with a configuration", () => {
  it.each<[string[], string[]]>([
    [["-bogus"], ["unknown flag -bogus: 'heddle agent --help' lists all flags"]],
    [["-datadir", "/d"], ["unknown flag -datadir: did you mean -data-dir?"]],
    [["stray"], ["unexpected argument 'stray': want flags such as -data-dir=DIR"]],
    [["-data-dir"], ["-data-dir: needs a value"]],
    [["-server=maybe"], ['-server: server: invalid value "maybe": want true or false']],
    [
      ["-dev=maybe"],
      ["-dev: invalid value 'maybe': want true or false", expect.stringContaining("data_dir: not given")],
    ],
    [["-config-format=yaml"], ["-config-format: invalid value 'yaml': want 'hcl' or 'json'"]],
    [["-http-port=80x"], ['-http-port: ports.http: invalid value "80x": want a port up to 65535, or -1 for none']],
    [
      ["-retry-interval=5"],
      [
        "-retry-interval: retry_interval: invalid value \"5\": want a duration such as '10s' or '1h30m', not below zero",
      ],
    ],
    [["-hcl", "a = "], ["-hcl[0]:1:5: the file ends too early: want a value"]],
    [
      ["-config-file=x.txt"],
      ["x.txt: unknown kind of file: want a name that ends in .json or .hcl, or -config-format"],
    ],
    [["-config-file=no.json"], ["no.json: cannot be read: ENOENT: no such file or directory, open 'no.json'"]],
  ])("refuses %j", (argv, problems) => {
    expect(
      problemsOf(() =>
        loadAgentConfig({ argv: [...(argv[0]?.startsWith("-dev") ? [] : ["-dev"]), ...argv], ...folder({}) }),
      ),
    ).toEqual(problems);
  });

  it("reports every problem at once, each with file, line, key and what is accepted", () => {
    const json = `{
  "data_dir": "/data",
  "prots": {},
  "ports": { "http": "8500", "dns": 70000 },
  "server": "true",
  "log_level": "chatty",
  "retry_join": "x",
  "check_update_interval": "5",
  "node_meta": { "a b": "c" },
  "acl": { "default_policy": "maybe", "tokens": { "agent": 5 } },
  "service": { "nam": "x", "check": { "ttl": "5" } },
  "services": [{ "port": 1 }, { "name": "y", "kind": "bogus" }],
  "checks": [{ "name": "z", "args": ["a"], "interval": "5s" }]
}`;
    const hcl =
      'datacenter = "a b"\nbind_addr = "nope"\nencrypt = "short"\n\nservice {\n  name = "s"\n  meta { "a b" = "x" }\n}\nservice { name = "t" }';
    expect(
      problemsOf(() => load({ "a.json": json, "b.hcl": "x = ", "c.hcl": hcl, "d.json": '{ "service": ' })),
    ).toEqual([
      "dir/b.hcl:1:5: the file ends too early: want a value",
      "failed to parse dir/d.json: unexpected end of JSON input",
      "dir/a.json:3:3: unknown key 'prots': did you mean 'ports'?",
      'dir/a.json:4:14: ports.http: invalid value "8500": want a port up to 65535, or -1 for none',
      "dir/a.json:4:30: ports.dns: invalid value 70000: want a port up to 65535, or -1 for none",
      'dir/a.json:5:3: server: invalid value "true": want true or false',
      'dir/a.json:7:3: retry_join: invalid value "x": want a list of texts',
      "dir/a.json:8:3: check_update_interval: invalid value \"5\": want a duration such as '10s' or '1h30m', not below zero",
      "dir/a.json:10:12: acl.default_policy: invalid value \"maybe\": want one of 'allow', 'deny'",
      "dir/a.json:10:51: acl.tokens.agent: invalid value: want text",
      "dir/c.hcl:3:1: encrypt: invalid value: want the base64 text of 16, 24 or 32 bytes",
      expect.stringMatching(
        /^dir\/c\.hcl:5:1: service: invalid value .*: want one block of keys; several stand under 'services'$/,
      ),
      "dir/a.json:11:16: unknown key 'nam' in service: did you mean 'name'?",
      "dir/a.json:11:39: service.check.ttl: invalid value \"5\": want a duration such as '10s' or '1h30m'",
      "dir/a.json:12:16: services[0].name: Missing service name",
      'dir/a.json:12:46: services[1].kind: invalid value "bogus": want one of connect-proxy, mesh-gateway, terminating-gateway, ingress-gateway, api-gateway',
      "dir/c.hcl:2:1: bind_addr: invalid value 'nope': want an IP address ('nope' is no IP address)",
      "dir/a.json:9:3: node_meta: invalid: Couldn't load metadata pair ('a b', 'c'): Key contains invalid characters",
      "dir/a.json:6:3: log_level: invalid value 'chatty': want one of trace, debug, info, warn, error",
      "dir/c.hcl:1:1: datacenter: invalid value 'a b': want letters, digits, '-' and '_'",
      "dir/a.json:13:14: check 'z' runs a script, which is off: want 'enable_local_script_checks' or 'enable_script_checks' to be true",
    ]);
  });

  it.each<[string, object, unknown]>([
    [
      "no data directory",
      { data_dir: undefined },
      "data_dir: not given: want the directory in which the agent keeps its state (or -dev)",
    ],
    ["bootstrap on a client", { bootstrap_expect: 1 }, "dir/b.json:1:2: bootstrap_expect: needs server = true"],
    [
      "both ways to bootstrap",
      { server: true, bootstrap: true, bootstrap_expect: 3 },
      "dir/b.json:1:33: bootstrap_expect: cannot be given together with bootstrap = true",
    ],
    [
      "an address for all",
      { advertise_addr: "0.0.0.0" },
      "dir/b.json:1:2: advertise_addr: invalid value '0.0.0.0': want an address that others can dial",
    ],
    [
      "two listeners on a port",
      { ports: { http: 8600 } },
      "dir/b.json:1:11: ports.http: invalid value 8600: 127.0.0.1:8600 is already that of ports.dns",
    ],
    [
      "an empty port range",
      { ports: { sidecar_min_port: 30_000 } },
      "dir/b.json:1:11: ports.sidecar_min_port: invalid value 30000: want at most ports.sidecar_max_port, which is 21255; both 0 for none",
    ],
    [
      "an unknown template",
      { client_addr: "{{ GetBogus }}" },
      `dir/b.json:1:2: client_addr: invalid value '{{ GetBogus }}': want an IP address (unknown template '{{ GetBogus }}': want GetPrivateIP, GetPublicIP or GetInterfaceIP "name")`,
    ],
    ["a node id", { node_id: "abc" }, "dir/b.json:1:2: node_id: invalid value 'abc': want a UUID"],
    [
      "another provider",
      { connect: { ca_provider: "aws-pca" } },
      "dir/b.json:1:13: connect.ca_provider: invalid value \"aws-pca\": want 'consul', the built-in authority, or 'vault'",
    ],
    [
      "a key of the authority",
      { connect: { ca_config: { leaf_ttl: "1h" } } },
      "dir/b.json:1:13: connect.ca_config: unknown key 'leaf_ttl': known here are cluster_id, csr_max_concurrent, csr_max_per_second, intermediate_cert, intermediate_cert_ttl, intermediate_signs, leaf_cert_ttl, private_key, private_key_bits, private_key_type, root_cert, root_cert_ttl, rotation_period, rotation_timeout, skip_validate",
    ],
    [
      "a header that splits",
      { http_config: { response_headers: { "X-A": "b\r\nC: d" } } },
      "dir/b.json:1:17: http_config.response_headers: invalid header 'X-A': want a token, and a value of one line",
    ],
    [
      "a network",
      { http_config: { allow_write_http_from: ["10.0.0.0/33"] } },
      "dir/b.json:1:17: http_config.allow_write_http_from: invalid value '10.0.0.0/33': want networks such as 10.0.0.0/8",
    ],
    [
      "a certificate without key",
      { cert_file: "c.pem" },
      "key_file: not given: want a certificate and its key, both or neither",
    ],
    [
      "HTTPS without certificate",
      { ports: { https: 8501 } },
      "dir/b.json:1:11: ports.https: needs a certificate: want cert_file and key_file, or -1 for no listener",
    ],
    [
      "nothing to verify against",
      { verify_incoming: true },
      "dir/b.json:1:2: verify_incoming: needs an authority to verify against: want ca_file or ca_path",
    ],
    [
      "a kind of entry",
      { config_entries: { bootstrap: [{ kind: "nope" }] } },
      expect.stringMatching(
        /^config_entries\.bootstrap\[0\]: invalid config entry kind: nope: want one of exported-services, /,
      ),
    ],
    [
      "a service daemon",
      { heddle: { catalog_addr: "ftp://x" } },
      "dir/b.json:1:12: heddle.catalog_addr: invalid value 'ftp://x': want a URL such as http://127.0.0.1:8300, or several with commas",
    ],
    ["a domain", { domain: "a b" }, "dir/b.json:1:2: domain: invalid value 'a b': want a DNS domain such as 'consul'"],
  ])("refuses %s", (_, extra, problem) => {
    const { data_dir, ...rest } = BASE;
    const files = { "a.json": "data_dir" in extra ? rest : { data_dir, ...rest }, "b.json": extra };
    expect(problemsOf(() => load(files))).toEqual([problem]);
  });
});

describe("any configuration", () => {
  it("never fails but with a ConfigError, whatever a file holds", () => {
    const value = fc.oneof(
      fc.string(),
      fc.integer(),
      fc.boolean(),
      fc.constant(null),
      fc.jsonValue({ maxDepth: 3 }) as fc.Arbitrary<unknown>,
    );
    const key = fc.constantFrom(
      "ports",
      "service",
      "services",
      "checks",
      "connect",
      "tls",
      "dns_config",
      "node_meta",
      "acl",
      "recursors",
      "telemetry",
      "bind_addr",
      "heddle",
      "config_entries",
      "retry_interval",
    );
    fc.assert(
      fc.property(fc.dictionary(key, value, { maxKeys: 6 }), (json) => {
        problemsOf(() => load({ "a.json": json }));
      }),
      { numRuns: 500 },
    );
  });

  it("reads any duration that Go writes", () => {
    fc.assert(
      fc.property(fc.nat(5_000), fc.nat(59), fc.nat(59), fc.nat(999), (h, m, s, ms) => {
        const config = flags("-hcl", `check_update_interval = "${h}h${m}m${s}s${ms}ms"`);
        expect(config.checkUpdateIntervalMs).toBe(((h * 60 + m) * 60 + s) * 1_000 + ms);
      }),
    );
  });
});
