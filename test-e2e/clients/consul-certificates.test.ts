/** A server that is configured as Consul's documentation secures one: certificates by `consul tls`, `verify_*`, HTTPS with a client's certificate. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { freePort } from "../faults/daemon.ts";
import { needsConsul } from "../support/consul.ts";
import { makePlace, startAgent } from "../support/mesh.ts";
import { run } from "../support/process.ts";

test("certificates of Consul's serve HTTPS, to its own command, and the internal API has its own", async (ctx) => {
  const consul = needsConsul(ctx);
  const place = await makePlace();
  const tls = async (...args: string[]) => {
    const { status, err } = await run(consul, ["tls", ...args], { cwd: place.dir });
    expect(status, err).toBe(0);
  };
  await tls("ca", "create");
  await tls("cert", "create", "-server");
  await tls("cert", "create", "-cli");
  const https = await freePort();
  const file = (name: string) => join(place.dir, name);
  place.write(
    "tls.hcl",
    `ports { https = ${https} }
    verify_incoming = true
    verify_outgoing = true
    verify_server_hostname = true
    ca_file = "${file("consul-agent-ca.pem")}"
    cert_file = "${file("dc1-server-consul-0.pem")}"
    key_file = "${file("dc1-server-consul-0-key.pem")}"`,
  );
  // On every address, where the internal API is mutual TLS.
  const flags = [
    "-server",
    "-bootstrap-expect=1",
    "-bind=0.0.0.0",
    "-advertise=127.0.0.1",
    `-data-dir=${file("data")}`,
  ];
  const { agent } = await startAgent(place, [...flags, "-enable-script-checks", "-serf-lan-port=-1"]);
  expect(agent.text).toContain("is for HTTPS alone");
  const env = {
    CONSUL_HTTP_ADDR: `https://127.0.0.1:${https}`,
    CONSUL_CACERT: file("consul-agent-ca.pem"),
    CONSUL_CLIENT_CERT: file("dc1-cli-consul-0.pem"),
    CONSUL_CLIENT_KEY: file("dc1-cli-consul-0-key.pem"),
  };
  for (const [args, says] of [
    [["members"], "alive"],
    [["kv", "put", "a", "b"], "Success!"],
    [["kv", "get", "a"], "b\n"],
    [["catalog", "services"], "socat-sidecar-proxy"],
    [["connect", "ca", "get-config"], '"Provider": "consul"'],
  ] as const) {
    const { status, out, err } = await run(consul, [...args], { env });
    expect([status, out], err).toEqual([0, expect.stringContaining(says)]);
  }
  // Without a certificate nobody gets in, and a reload finds nothing changed.
  const stranger = await run("curl", ["-sSk", `https://127.0.0.1:${https}/v1/status/leader`]);
  expect(stranger.status).not.toBe(0);
  const from = agent.text.length;
  await place.ok("reload");
  await agent.printed("configuration reloaded", { from });
  expect(agent.text.slice(from)).not.toContain("need a restart");
});
