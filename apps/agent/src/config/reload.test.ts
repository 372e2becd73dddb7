import { describe, expect, it } from "vitest";
import { loadAgentConfig } from "./load.ts";
import { changedWithoutReload } from "./reload.ts";

const hcl = (text: string) => loadAgentConfig({ argv: ["-dev", "-hcl", text] });

describe("changedWithoutReload", () => {
  it.each<[string, string, string[]]>([
    ["", "", []],
    ["", 'service { name = "x" } check { name = "c" ttl = "5s" }', []],
    ["", 'log_level = "warn" node_meta { a = "b" } recursors = ["8.8.8.8"]', []],
    [
      "",
      'dns_config { node_ttl = "5s" } limits { http_max_conns_per_client = 5 http_max_requests_per_client = 9 }',
      [],
    ],
    ["", 'http_config { response_headers { "X-A" = "b" } } acl { tokens { agent = "x" } }', []],
    ["", "ports { http = 1 sidecar_min_port = 20000 }", ["ports.http", "ports.sidecar_min_port"]],
    ['node_name = "a"', 'node_name = "b"', ["node_name"]],
    ["", 'data_dir = "/x" datacenter = "dc2"', ["data_dir", "datacenter", "primary_datacenter"]],
    ["", 'check_update_interval = "1s" log_json = true', ["check_update_interval", "log_json"]],
    ["", 'heddle { ca_addr = "http://a:1" }', ["heddle.ca_addr"]],
    ["", 'http_config { block_endpoints = ["/v1/x"] }', ["http_config.block_endpoints"]],
    [
      "",
      'client_addr = "127.0.0.2"',
      ["addresses.dns", "addresses.grpc", "addresses.http", "addresses.https", "client_addr"],
    ],
    ["", "connect { enabled = false }", ["connect.enabled"]],
    [
      "",
      'leave_on_terminate = true performance { leave_drain_time = "1s" }',
      ["leave_on_terminate", "performance.leave_drain_time"],
    ],
    ["", "enable_script_checks = true", ["enable_script_checks"]],
    ["", 'tls { https { verify_incoming = true ca_file = "x" } }', ["tls.https.verify_incoming"]],
    ["", "limits { kv_max_value_size = 5 }", ["limits.kv_max_value_size"]],
  ])("from %j to %j", (before, after, keys) => {
    expect(changedWithoutReload(hcl(before), hcl(after)).sort()).toEqual(keys);
  });
});
