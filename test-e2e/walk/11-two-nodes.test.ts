/** Beyond the walk: the same mesh on two nodes, a server with a disk and an agent that joins it, mutual TLS between them. */
import { expect, test } from "vitest";
import { claimPorts } from "../support/ports.ts";
import { comesTo, makePlace, netcat, startSocat } from "../support/mesh.ts";
import { dig } from "../support/network.ts";
import { HEDDLE, run, start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

test("an agent joins a server over mutual TLS, and a service of one node is reached from the other", async (ctx) => {
  needs(ctx, "socat", "nc", "curl", "dig");
  const server = await makePlace();
  const node = await makePlace();
  // One CA; the server's certificate says that all daemons are one process there, the other node's that it is an agent.
  await server.ok("tls", "ca", "create");
  expect(await server.ok("tls", "cert", "create", "-server")).toContain("==> Saved dc1-server.pem\n");
  await server.ok("tls", "cert", "create", "-client", "-node", "n2");
  const tls = (name: string) => ({
    ca_file: `${server.dir}/heddle-ca.pem`,
    cert_file: `${server.dir}/dc1-${name}.pem`,
    key_file: `${server.dir}/dc1-${name}-key.pem`,
  });
  server.remove("socat.json");
  server.write("server.json", {
    ...{ server: true, bootstrap_expect: 1, data_dir: "../data", node_name: "n1", bind_addr: "127.0.0.1" },
    ...tls("server"),
  });
  node.write("node.json", { data_dir: "../data", node_name: "n2", bind_addr: "127.0.0.1", ...tls("agent-n2") });

  const first = start(HEDDLE, ["agent", "-config-dir=."], { cwd: server.configDir });
  await first.printed("Synced node info: node=n1");
  expect(first.text).toContain("TLS-Outgoing: true, TLS-Incoming: true");
  const join = `-retry-join=127.0.0.1:${server.ports.server}`;
  const second = start(HEDDLE, ["agent", "-config-dir=.", join], { cwd: node.configDir });
  await second.printed("Synced check: check=service:socat-sidecar-proxy:1");
  expect(second.text).toMatch(/Server: false /);
  for (const { ok } of [server, node]) {
    expect((await ok("members")).split("\n").map((line) => line.split(/ +/)[0])).toEqual(["Node", "n1", "n2", ""]);
    expect(await ok("catalog", "services")).toBe("consul\nsocat\nsocat-sidecar-proxy\n");
  }

  // Scripts join again and again: a member is joined already, and who means another address learns how a node gets there.
  for (const who of ["127.0.0.1", "n1", "n2"])
    expect(await node.ok("join", who)).toBe("Successfully joined cluster by contacting 1 nodes.\n");
  expect((await node.heddle("join", "10.1.2.3")).err).toContain("start the agent with -retry-join=10.1.2.3");

  startSocat(node.ports.echo);
  const sidecar = node.start("connect", "proxy", "-sidecar-for", "socat");
  await sidecar.printed("Starting listener");
  const web = server.start("connect", "proxy", "-service", "web", "-upstream", `socat:${server.ports.upstream}`);
  await web.printed("Starting listener");
  await comesTo(server.ports.upstream, "echo");
  for (const { ports } of [server, node])
    expect(await dig(ports.dns, "socat.connect.consul", "SRV")).toEqual([
      `1 1 ${node.ports.sidecar} n2.node.dc1.consul.`,
    ]);
  // What is written at one node is read at the other, and a rule made at one holds at the other.
  await node.ok("kv", "put", "from", "n2");
  expect(await server.ok("kv", "get", "from")).toBe("n2\n");
  await node.ok("intention", "create", "-deny", "web", "socat");
  await comesTo(server.ports.upstream, "refused");
  await server.ok("intention", "delete", "web", "socat");
  await comesTo(server.ports.upstream, "echo");

  // Without its server the node's mesh goes on; the server has all of it again when it is back.
  expect(await first.stop()).toBe(0);
  expect(await netcat(server.ports.upstream, "alone")).toBe("alone\n");
  const again = start(HEDDLE, ["agent", "-config-dir=."], { cwd: server.configDir });
  await again.printed("Synced node info: node=n1");
  expect(await server.ok("kv", "get", "from")).toBe("n2\n");
  await expect.poll(() => node.heddle("catalog", "services")).toMatchObject({ status: 0 });
  expect(await second.stop()).toBe(0);
  expect(await again.stop()).toBe(0);
}, 60_000);

test("a caller without a certificate, or with that of another role, is turned away from the internal API", async (ctx) => {
  needs(ctx, "curl");
  const place = await makePlace();
  await place.ok("tls", "ca", "create");
  await place.ok("tls", "cert", "create", "-server", "-role", "dns");
  const file = (name: string) => `${place.dir}/${name}.pem`;
  place.write("server.json", {
    ...{ server: true, bootstrap_expect: 1, data_dir: "../data", bind_addr: "127.0.0.1", ca_file: file("heddle-ca") },
    ...{ cert_file: file("dc1-server"), key_file: file("dc1-server-key") },
  });
  const agent = start(HEDDLE, ["agent", "-config-dir=."], { cwd: place.configDir });
  await agent.printed("Synced node info");
  const url = `https://127.0.0.1:${place.ports.server}/v1/kv/a`;
  const ask = (...flags: string[]) =>
    run("curl", ["-sS", "--cacert", file("heddle-ca"), "-w", " %{http_code}", ...flags, url]);
  const as = (name: string) => ["--cert", file(name), "--key", file(`${name}-key`)];
  expect((await ask()).status).not.toBe(0);
  expect((await ask(...as("dc1-dns"), "-X", "PUT", "-d", "x")).out).toMatch(
    /a caller with role 'dns' may not PUT .* 403$/,
  );
  expect((await ask(...as("dc1-server"), "-X", "PUT", "-d", "x")).out).toBe("true 200");
  const { port } = await claimPorts(["plain"]);
  const plain = await place.heddle(
    "agent",
    "-data-dir=plain",
    `-http-port=${port.plain}`,
    "-dns-port=-1",
    "-retry-join=192.0.2.1",
    "-bind=127.0.0.1",
  );
  expect(plain.status).toBe(1);
  expect(plain.err).toMatch(
    /refusing to reach the servers in plain text at http:\/\/192\.0\.2\.1:8300: join with -join and .* or give ca_file/,
  );
});
