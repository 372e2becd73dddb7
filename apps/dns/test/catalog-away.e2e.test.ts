import { silentLog } from "@heddle/daemon";
import { expect, onTestFinished, test } from "vitest";
import { start } from "../src/index.ts";
import { dig, startFor, testConfig } from "./dig.ts";
import { startFakeCatalog, toCheckServiceNode } from "./fake-catalog.ts";

test("answers go on from memory while the catalog is away, and follow it when it is back", async () => {
  const catalog = await startFakeCatalog();
  catalog.register("web", [{ node: "n1", address: "10.0.0.1" }]);
  await using dns = await startFor(catalog, { metricsPort: 0 });
  expect((await dig(dns.port, "web.service.consul")).answer).toHaveLength(1);
  await catalog.stop();
  await expect.poll(() => dns.health().catalog?.details).toBe("no catalog is connected, answering from memory");
  expect((await dig(dns.port, "web.service.consul")).answer).toHaveLength(1);
  expect((await dig(dns.port, "n1.node.consul")).answer).toHaveLength(1);
  expect((await dig(dns.port, "nobody.service.consul")).status).toBe("NXDOMAIN");
  const metrics = await (await fetch(`${dns.metricsUrl}/metrics`)).text();
  expect(metrics).toContain('heddle_dns_stale_answers_total{daemon="dns"} 3');
  expect(metrics).toContain('heddle_dns_answers_total{transport="udp",type="A",rcode="NXDOMAIN",daemon="dns"} 1');
  expect((await fetch(`${dns.metricsUrl}/readyz`)).status).toBe(200);

  await using back = await startFakeCatalog(Number(new URL(catalog.url).port));
  // Its index starts anew, so it has to be further on than what DNS saw.
  for (let i = 0; i < 10; i++) back.set("/v1/x", i);
  back.register("web", [
    { node: "n1", address: "10.0.0.1" },
    { node: "n2", address: "10.0.0.2" },
  ]);
  await expect.poll(async () => (await dig(dns.port, "web.service.consul")).answer).toHaveLength(2);
});

test("before the first word of the catalog questions wait, then fail; health says so", async () => {
  const dns = await start(testConfig({ catalogUrl: "http://127.0.0.1:9" }), { log: silentLog });
  onTestFinished(() => dns.close());
  expect(dns.health().catalog).toMatchObject({ ready: false, details: "no answer from the catalog yet" });
  const started = performance.now();
  expect(await dig(dns.port, "web.service.consul +time=5")).toMatchObject({ status: "SERVFAIL" });
  expect(performance.now() - started).toBeGreaterThan(1_800);
  expect((await dig(dns.port, "example.com")).status).toBe("REFUSED");
});

test("a service whose first answer does not come is SERVFAIL, and others are not held up", async () => {
  await using catalog = await startFakeCatalog();
  catalog.register("slow", [{ node: "n1", address: "10.0.0.1" }]);
  catalog.register("web", [{ node: "n1", address: "10.0.0.1" }]);
  catalog.mute("/v1/health/service/slow");
  await using dns = await startFor(catalog);
  const slow = dig(dns.port, "slow.service.consul +time=5");
  expect((await dig(dns.port, "web.service.consul")).status).toBe("NOERROR");
  expect((await slow).status).toBe("SERVFAIL");
  catalog.register("slow", [{ node: "n1", address: "10.0.0.1" }]);
  await expect.poll(async () => (await dig(dns.port, "slow.service.consul")).status).toBe("NOERROR");
});

test("prepared queries are followed, their TTL counts, and the last result outlives the catalog", async () => {
  const catalog = await startFakeCatalog();
  onTestFinished(() => catalog.stop());
  const Nodes = [
    toCheckServiceNode("web", { node: "n1", address: "10.0.0.1" }),
    toCheckServiceNode("web", { node: "n2", address: "10.0.0.2" }),
  ];
  const answer = { Service: "web", Nodes, DNS: { TTL: "7s" }, Datacenter: "dc1", Near: "n1" };
  catalog.set("/v1/internal/query/find.web", answer);
  catalog.set("/v1/internal/query/near.me", { ...answer, Near: "_ip" });
  await using dns = await startFor(catalog);
  const inOrder = ["find.web.query.consul. 7 A 10.0.0.1", "find.web.query.consul. 7 A 10.0.0.2"];
  expect((await dig(dns.port, "find.web.query.consul")).answer).toEqual(inOrder);
  expect((await dig(dns.port, "find.web.query.consul SRV")).answer[0]).toBe(
    "find.web.query.consul. 7 SRV 1 1 80 n1.node.dc1.consul.",
  );
  expect((await dig(dns.port, "none.query.consul")).status).toBe("NXDOMAIN");
  expect(catalog.asked.get("/v1/internal/query/find.web")).toBeUndefined();
  // Whose answer depends on who asks is asked for each time.
  expect((await dig(dns.port, "near.me.query.consul")).answer).toHaveLength(2);
  expect(catalog.asked.get("/v1/internal/query/near.me")).toBe(1);
  catalog.set("/v1/internal/query/find.web", { ...answer, Nodes: Nodes.slice(1) });
  await expect.poll(async () => (await dig(dns.port, "find.web.query.consul")).answer).toEqual(inOrder.slice(1));
  await catalog.stop();
  expect((await dig(dns.port, "find.web.query.consul")).answer).toEqual(inOrder.slice(1));
  expect((await dig(dns.port, "near.me.query.consul")).answer).toHaveLength(2);
  expect((await dig(dns.port, "other.query.consul")).status).toBe("SERVFAIL");
});

test("a service's own address has a name, asked of the catalog", async () => {
  await using catalog = await startFakeCatalog();
  catalog.set("/v1/internal/service-address/10.9.9.9", [{ Node: "n1", ID: "rev", Service: "rev" }]);
  await using dns = await startFor(catalog);
  expect((await dig(dns.port, "-x 10.9.9.9")).answer).toEqual(["9.9.9.10.in-addr.arpa. 0 PTR rev.service.dc1.consul."]);
  expect((await dig(dns.port, "-x 10.9.9.8")).status).toBe("SERVFAIL");
});
