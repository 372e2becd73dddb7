/** Step 9 of the walk: dig finds the service, its address and its node, over UDP and over TCP. */
import { expect, test } from "vitest";
import { startMesh } from "../support/mesh.ts";
import { dig, digFully } from "../support/network.ts";
import { run } from "../support/process.ts";
import { needs } from "../support/tools.ts";

test("SRV, A, the node, the mesh's own names, over UDP and TCP", async (ctx) => {
  needs(ctx, "socat", "curl", "dig");
  const { ports, api } = await startMesh();
  const { Config } = await api<{ Config: { NodeName: string } }>("/v1/agent/self");
  const node = Config.NodeName;
  const target = `${node}.node.dc1.consul.`;
  for (const transport of ["+notcp", "+tcp"]) {
    const ask = (...question: string[]) => dig(ports.dns, transport, ...question);
    expect(await ask("socat.service.consul", "SRV")).toEqual([`1 1 ${ports.echo} ${target}`]);
    expect(await ask("_socat._tcp.service.consul", "SRV")).toEqual([`1 1 ${ports.echo} ${target}`]);
    expect(await ask("socat.service.dc1.consul", "A")).toEqual(["127.0.0.1"]);
    expect(await ask("socat.service.consul", "AAAA")).toEqual([]);
    expect(await ask(`${node}.node.consul`)).toEqual(["127.0.0.1"]);
    expect(await ask("-x", "127.0.0.1")).toEqual([target]);
    // Where a caller in the mesh goes: to the sidecar.
    expect(await ask("socat.connect.consul", "SRV")).toEqual([`1 1 ${ports.sidecar} ${target}`]);
    expect(await ask("SOCAT.Service.CONSUL", "A")).toEqual(["127.0.0.1"]);
  }
});

test("what dig shows around the answer: flags, the additional section, SOA where there is no answer", async (ctx) => {
  needs(ctx, "socat", "curl", "dig");
  const { ports, api } = await startMesh();
  const { Config } = await api<{ Config: { NodeName: string } }>("/v1/agent/self");
  const found = await digFully(ports.dns, "socat.service.consul", "SRV");
  expect(found.out).toMatch(/status: NOERROR/);
  expect(found.out).toMatch(/flags: qr aa rd; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: \d/);
  expect(found.out).toMatch(new RegExp(`^socat\\.service\\.consul\\.\\s+0\\s+IN\\s+SRV\\s+1 1 ${ports.echo} `, "m"));
  expect(found.out).toMatch(
    new RegExp(`^${Config.NodeName}\\.node\\.dc1\\.consul\\.\\s+0\\s+IN\\s+A\\s+127\\.0\\.0\\.1$`, "m"),
  );
  const missing = await digFully(ports.dns, "nobody.service.consul", "SRV");
  expect(missing.out).toMatch(/status: NXDOMAIN/);
  expect(missing.out).toMatch(/^consul\.\s+0\s+IN\s+SOA\s+ns\.consul\. hostmaster\.consul\. \d+ 3600 600 86400 0$/m);
  const large = await digFully(ports.dns, "+tcp", "+noall", "+stats", "socat.service.consul");
  expect(large.out).toMatch(/SERVER: 127\.0\.0\.1#\d+\(127\.0\.0\.1\) \(TCP\)/);
});

test("heddle dns explain tells who is in an answer, and what left the others out", async (ctx) => {
  needs(ctx, "socat", "curl", "dig");
  const { ports, ok, heddle } = await startMesh();
  const file = JSON.stringify({ ID: "sick", Name: "socat", Port: 7001, Check: { TTL: "1m", Status: "critical" } });
  const register = `http://127.0.0.1:${ports.http}/v1/agent/service/register`;
  expect((await fetch(register, { method: "PUT", body: file })).status).toBe(200);
  const explained = await ok("dns", "explain", "socat.service.consul", "SRV");
  expect(explained).toMatch(/^Answer\s+NOERROR, 1 SRV record/m);
  expect(explained).toMatch(new RegExp(`socat\\s+127\\.0\\.0\\.1\\s+${ports.echo}\\s+in the answer`));
  expect(explained).toMatch(/sick\s+127\.0\.0\.1\s+7001\s+left out: check 'service:sick' is critical/);
  expect(await ok("dns", "explain", "nobody.service")).toMatch(/no service 'nobody' is registered/);
  expect(await heddle("dns", "explain", "socat.service", "WKS")).toMatchObject({
    status: 1,
    err: expect.stringContaining('Invalid type "WKS"'),
  });
});

test("a registration and its end are in the next answer", async (ctx) => {
  needs(ctx, "socat", "curl", "dig");
  const { ports, ok } = await startMesh();
  await ok("services", "register", "-name=fresh", "-port=7000", "-tag=v1", "-tag=v2");
  await expect.poll(() => dig(ports.dns, "fresh.service.consul", "SRV")).toHaveLength(1);
  expect(await dig(ports.dns, "v2.fresh.service.consul")).toEqual(["127.0.0.1"]);
  expect(await dig(ports.dns, "v3.fresh.service.consul")).toEqual([]);
  await ok("services", "deregister", "-id=fresh");
  await expect.poll(() => dig(ports.dns, "fresh.service.consul", "SRV")).toEqual([]);
  // What is no question leaves the server as it was.
  const { out } = await run("dig", [
    "@127.0.0.1",
    "-p",
    String(ports.dns),
    "+opcode=4",
    "+tries=1",
    "+time=2",
    "socat.service.consul",
  ]);
  expect(out).toMatch(/status: (?:NOTIMP|REFUSED|FORMERR)/);
  expect(await dig(ports.dns, "socat.service.consul")).toEqual(["127.0.0.1"]);
});
