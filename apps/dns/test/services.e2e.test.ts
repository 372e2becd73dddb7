import { Resolver } from "node:dns/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RunningDns } from "../src/index.ts";
import { dig, startFor } from "./dig.ts";
import { type FakeCatalog, startFakeCatalog, toCheckServiceNode } from "./fake-catalog.ts";

let catalog: FakeCatalog;
let dns: RunningDns;

beforeAll(async () => {
  catalog = await startFakeCatalog();
  catalog.register("web", [
    { node: "n1", address: "10.0.0.1", tags: ["v1", "Blue"] },
    {
      node: "n2",
      address: "10.0.0.2",
      serviceAddress: "10.5.0.2",
      port: 81,
      tags: ["v2"],
      weights: { Passing: 7, Warning: 3 },
    },
    { node: "sick", address: "10.0.0.9", checks: ["passing", "critical"] },
  ]);
  catalog.register("shaky", [
    { node: "n1", address: "10.0.0.1", checks: ["warning"], weights: { Passing: 7, Warning: 3 } },
  ]);
  catalog.register("six", [{ node: "n3", address: "10.0.0.3", serviceAddress: "2001:db8::66", port: 6 }]);
  catalog.register("sick", [{ node: "n1", address: "10.0.0.1", checks: ["critical"] }]);
  catalog.register("Mixed", [
    { node: "Node-One", address: "10.0.0.4", tags: ["a.b"], meta: { zone: "a", "rfc1035-x": "plain" } },
  ]);
  catalog.register("virtual-one", [{ node: "n1", address: "10.0.0.1", tagged: { virtual: "240.0.0.1" } }]);
  catalog.register("dual", [
    {
      node: "n1",
      address: "10.0.0.1",
      serviceAddress: "10.9.0.1",
      tagged: { lan_ipv4: "10.9.0.2", lan_ipv6: "2001:db8::9" },
    },
  ]);
  catalog.register("both", [{ node: "n4", address: "10.0.0.4", nodeTagged: { lan_ipv6: "2001:db8::4" } }]);
  catalog.register("consul", [{ node: "srv", address: "127.0.0.1", port: 8300 }]);
  catalog.set("/v1/health/connect/web", [
    toCheckServiceNode("web-proxy", { node: "n1", address: "10.0.0.1", port: 21000 }),
  ]);
  catalog.set("/v1/health/ingress/web", [toCheckServiceNode("gate", { node: "n2", address: "10.0.0.2", port: 8080 })]);
  dns = await startFor(catalog);
});
afterAll(async () => {
  await dns?.close();
  await catalog?.stop();
});

const SOA = expect.stringMatching(/^consul\. 0 SOA ns\.consul\. hostmaster\.consul\. \d+ 3600 600 86400 0$/);

describe.each(["", " +tcp"])("dig%s", (transport) => {
  // dig asks ANY over TCP unless it is told not to.
  const ask = (question: string) => dig(dns.port, `${question}${transport || " +notcp"}`);

  test.each([
    ["web.service.consul A", ["web.service.consul. 0 A 10.0.0.1", "web.service.consul. 0 A 10.5.0.2"]],
    ["web.service.dc1.consul A", ["web.service.dc1.consul. 0 A 10.0.0.1", "web.service.dc1.consul. 0 A 10.5.0.2"]],
    [
      "web.service.dc1.dc.consul A",
      ["web.service.dc1.dc.consul. 0 A 10.0.0.1", "web.service.dc1.dc.consul. 0 A 10.5.0.2"],
    ],
    ["v1.web.service.consul A", ["v1.web.service.consul. 0 A 10.0.0.1"]],
    ["BLUE.web.service.consul A", ["BLUE.web.service.consul. 0 A 10.0.0.1"]],
    ["a.b.mixed.service.consul A", ["a.b.mixed.service.consul. 0 A 10.0.0.4"]],
    ["six.service.consul AAAA", ["six.service.consul. 0 AAAA 2001:db8::66"]],
    ["dual.service.consul A", ["dual.service.consul. 0 A 10.9.0.2"]],
    ["dual.service.consul AAAA", ["dual.service.consul. 0 AAAA 2001:db8::9"]],
    ["dual.service.consul ANY", ["dual.service.consul. 0 A 10.9.0.2", "dual.service.consul. 0 AAAA 2001:db8::9"]],
    ["both.service.consul A", ["both.service.consul. 0 A 10.0.0.4"]],
    ["both.service.consul AAAA", ["both.service.consul. 0 AAAA 2001:db8::4"]],
    [
      "both.service.consul SRV",
      ["both.service.consul. 0 SRV 1 1 80 20010db8000000000000000000000004.addr.dc1.consul."],
    ],
    ["n4.node.consul A", ["n4.node.consul. 0 A 10.0.0.4"]],
    ["n4.node.consul AAAA", ["n4.node.consul. 0 AAAA 2001:db8::4"]],
    ["web.connect.consul SRV", ["web.connect.consul. 0 SRV 1 1 21000 n1.node.dc1.consul."]],
    ["web.ingress.consul A", ["web.ingress.consul. 0 A 10.0.0.2"]],
    ["virtual-one.virtual.consul A", ["virtual-one.virtual.consul. 0 A 240.0.0.1"]],
    ["_web._v2.service.consul SRV", ["_web._v2.service.consul. 0 SRV 1 7 81 0a050002.addr.dc1.consul."]],
    ["_mixed._tcp.consul SRV", ["_mixed._tcp.consul. 0 SRV 1 1 80 Node-One.node.dc1.consul."]],
    ["shaky.service.consul SRV", ["shaky.service.consul. 0 SRV 1 3 80 n1.node.dc1.consul."]],
    ["n1.node.consul A", ["n1.node.consul. 0 A 10.0.0.1"]],
    ["N1.NODE.DC1.Consul A", ["N1.NODE.DC1.Consul. 0 A 10.0.0.1"]],
    ["node-one.node.consul TXT", ['node-one.node.consul. 0 TXT "plain"', 'node-one.node.consul. 0 TXT "zone=a"']],
    ["0a050002.addr.dc1.consul A", ["0a050002.addr.dc1.consul. 0 A 10.5.0.2"]],
    ["1.0.0.10.in-addr.arpa PTR", ["1.0.0.10.in-addr.arpa. 0 PTR n1.node.dc1.consul."]],
    ["consul NS", ["consul. 0 NS srv.node.dc1.consul."]],
  ])("%s", async (question, answer) => {
    const got = await ask(question);
    expect(got.answer.toSorted()).toEqual(answer);
    expect(got).toMatchObject({ status: "NOERROR", isTcp: transport !== "" });
    expect(got.flags).toContain("aa");
    expect(got.flags).not.toContain("ra");
  });

  test.each([
    ["nobody.service.consul A", "NXDOMAIN"],
    ["v9.web.service.consul A", "NXDOMAIN"],
    ["web.service.dc9.consul A", "NXDOMAIN"],
    ["sick.service.consul A", "NXDOMAIN"],
    ["nobody.node.consul A", "NXDOMAIN"],
    ["nobody.connect.consul A", "NXDOMAIN"],
    ["x.nonsense.consul A", "NXDOMAIN"],
    ["zz050002.addr.consul A", "NXDOMAIN"],
    ["web.service.consul AAAA", "NOERROR"],
    ["web.service.consul TXT", "NOERROR"],
    ["n1.node.consul SRV", "NOERROR"],
    ["0a050002.addr.consul AAAA", "NOERROR"],
  ])("%s has no answer: %s with the SOA", async (question, status) => {
    expect(await ask(question)).toMatchObject({ status, answer: [], authority: [SOA] });
  });

  test("SRV brings the addresses and the meta of its targets along", async () => {
    const { additional } = await ask("_mixed._tcp.service.consul SRV");
    expect(additional).toEqual([
      "Node-One.node.dc1.consul. 0 A 10.0.0.4",
      'Node-One.node.dc1.consul. 0 TXT "zone=a"',
      'Node-One.node.dc1.consul. 0 TXT "plain"',
    ]);
  });

  test("SOA comes with the name servers and their addresses", async () => {
    expect(await ask("consul SOA")).toMatchObject({
      status: "NOERROR",
      answer: [SOA],
      authority: ["consul. 0 NS srv.node.dc1.consul."],
      additional: ["srv.node.dc1.consul. 0 A 127.0.0.1"],
    });
  });

  test("names of others are refused", async () => {
    expect(await ask("example.com A")).toMatchObject({ status: "REFUSED", answer: [], authority: [] });
  });

  test("class CHAOS is refused, a newer EDNS is answered with the version spoken", async () => {
    expect(await ask("web.service.consul A -c CH")).toMatchObject({ status: "REFUSED" });
    expect(await ask("web.service.consul A +edns=1 +noednsnegotiation")).toMatchObject({ status: "BADVERS" });
  });

  test("EDNS is answered with EDNS, the client's subnet with its scope", async () => {
    const got = await ask("web.service.consul A +edns=0 +bufsize=1400 +subnet=192.0.2.0/24");
    expect(got.edns).toBe("version: 0, flags:; udp: 1400");
    expect(got.text).toContain("CLIENT-SUBNET: 192.0.2.0/24/0");
  });
});

test("Node's own resolver agrees", async () => {
  const resolver = new Resolver();
  resolver.setServers([`127.0.0.1:${dns.port}`]);
  expect(await resolver.resolveSrv("_web._v2.service.consul")).toMatchObject([
    { name: "0a050002.addr.dc1.consul", port: 81, priority: 1, weight: 7 },
  ]);
  expect((await resolver.resolve4("web.service.consul")).toSorted()).toEqual(["10.0.0.1", "10.5.0.2"]);
  expect(await resolver.reverse("10.0.0.1")).toEqual(["n1.node.dc1.consul"]);
  await expect(resolver.resolve6("web.service.consul")).rejects.toMatchObject({ code: "ENODATA" });
  await expect(resolver.resolve4("nobody.service.consul")).rejects.toMatchObject({ code: "ENOTFOUND" });
});

test("unknown names cost the catalog no subscription, known ones one", async () => {
  expect(catalog.subscribed).toContain("/v1/health/service/web");
  expect(catalog.subscribed).not.toContain("/v1/health/service/nobody");
});

test("a change reaches the next answers", async () => {
  catalog.register("fresh", [{ node: "n1", address: "10.0.0.1" }]);
  await expect.poll(async () => (await dig(dns.port, "fresh.service.consul")).answer).toHaveLength(1);
  catalog.register("fresh", [{ node: "n1", address: "10.0.0.1", checks: ["critical"] }]);
  await expect.poll(async () => (await dig(dns.port, "fresh.service.consul")).status).toBe("NXDOMAIN");
});
