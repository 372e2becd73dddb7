import { describe, expect, it } from "vitest";
import { AGENT_FLAGS, fieldAt, formatAgentFlags } from "./flags.ts";

describe("AGENT_FLAGS", () => {
  it("names a key that exists for each flag, once, in order", () => {
    for (const flag of AGENT_FLAGS) if (flag.key) expect(fieldAt(flag.key), flag.name).toBeDefined();
    const names = AGENT_FLAGS.map((f) => f.name);
    expect(new Set(names).size).toBe(names.length);
    expect(names.slice(1)).toEqual(names.slice(1).sort());
  });

  it("has every flag of Consul 1.8", () => {
    const known = new Set(AGENT_FLAGS.map((f) => f.name));
    const consul =
      "datacenter advertise advertise-wan allow-write-http-from alt-domain bind bootstrap bootstrap-expect check_output_max_size client config-dir config-file config-format data-dir default-query-time dev disable-host-node-id disable-keyring-file dns-port domain enable-local-script-checks enable-script-checks encrypt grpc-port hcl http-port https-port join join-wan log-file log-json log-level log-rotate-bytes log-rotate-duration log-rotate-max-files max-query-time node node-id node-meta non-voting-server pid-file primary-gateway protocol raft-protocol recursor rejoin retry-interval retry-interval-wan retry-join retry-join-wan retry-max retry-max-wan segment serf-lan-allowed-cidrs serf-lan-bind serf-lan-port serf-wan-allowed-cidrs serf-wan-bind serf-wan-port server server-port syslog ui ui-content-path ui-dir";
    expect(consul.split(" ").filter((name) => !known.has(name))).toEqual([]);
  });

  it("prints help as Consul lays it out", () => {
    const help = formatAgentFlags();
    expect(help).toMatch(/^HTTP API Options\n\n {2}-datacenter=<value>\n {5}\S/);
    expect(help).toContain("\n\nCommand Options\n\n  -advertise=<value>\n");
    expect(help).toContain("  -dev\n     ");
    expect(help).toContain("  -node-meta=<key:value>\n");
    expect(Math.max(...help.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  });
});
