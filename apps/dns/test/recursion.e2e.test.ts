import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { type Answer, decode, encode, type RecordType } from "dns-packet";
import { describe, expect, onTestFinished, test } from "vitest";
import type { DnsConfig } from "../src/index.ts";
import type { NameServer } from "../src/net/exchange.ts";
import { dig, startFor, testConfig } from "./dig.ts";
import { startFakeCatalog } from "./fake-catalog.ts";
import { question, rcodeOf, udpClient } from "./wire.ts";

/** A name server that answers by a table ("name TYPE"), counts questions, and may be silent or refuse. */
async function nameServer(
  table: Record<string, Answer[]>,
  mode: "answers" | "forges" | "fails" | "silent" = "answers",
) {
  const socket: Socket = createSocket("udp4");
  const asked: string[] = [];
  socket.on("message", (packet, peer) => {
    const query = decode(packet);
    const [q] = query.questions ?? [];
    const key = `${q?.name} ${q?.type}`;
    asked.push(key);
    if (mode === "silent") return;
    const reply = (id: number, answers: Answer[], rcode: number) =>
      socket.send(
        encode({ type: "response", id, flags: 0x0180 | rcode, questions: query.questions ?? [], answers }),
        peer.port,
        peer.address,
      );
    if (mode === "forges") reply((query.id ?? 0) ^ 1, [{ type: "A", name: q?.name ?? "", ttl: 1, data: "6.6.6.6" }], 0);
    if (mode === "fails") reply(query.id ?? 0, [], 2);
    else reply(query.id ?? 0, table[key] ?? [], table[key] ? 0 : 3);
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  onTestFinished(() => void socket.close());
  return { server: { host: "127.0.0.1", port: socket.address().port } satisfies NameServer, asked };
}

const A = (name: string, data: string): Answer => ({ type: "A", name, ttl: 60, data });
const CNAME = (name: string, data: string, ttl: number): Answer => ({ type: "CNAME", name, ttl, data });
const AAAA = (name: string, data: string): Answer => ({ type: "AAAA", name, ttl: 60, data });

async function daemonWith(recursors: NameServer[], settings: Partial<DnsConfig> = {}) {
  const catalog = await startFakeCatalog();
  onTestFinished(() => catalog.stop());
  catalog.register("foreign", [{ node: "n1", address: "10.0.0.1", serviceAddress: "www.example.com" }]);
  catalog.register("inner", [{ node: "n1", address: "10.0.0.1", serviceAddress: "web.service.consul" }]);
  for (const [name, to] of Object.entries({ four: "three", three: "two", two: "inner" }))
    catalog.register(name, [{ node: "n1", address: "10.0.0.1", serviceAddress: `${to}.service.consul` }]);
  catalog.register("own", [{ node: "n1", address: "10.0.0.1", serviceAddress: "own.service.consul" }]);
  catalog.register("loop-a", [{ node: "n1", address: "10.0.0.1", serviceAddress: "loop-b.service.consul" }]);
  catalog.register("loop-b", [{ node: "n1", address: "10.0.0.1", serviceAddress: "loop-a.service.consul" }]);
  catalog.register("web", [{ node: "n2", address: "10.0.0.2" }]);
  catalog.register("elsewhere", [{ node: "named", address: "host.example.com" }]);
  const dns = await startFor(catalog, { recursors, recursorTimeout: 300, ...settings });
  onTestFinished(() => dns.close());
  return dns;
}

describe("names of others", () => {
  test("are asked of the recursors, with RA, in the client's spelling", async () => {
    const upstream = await nameServer({ "WWW.example.com A": [A("www.example.com", "192.0.2.1")] });
    const dns = await daemonWith([upstream.server]);
    const got = await dig(dns.port, "WWW.example.com A");
    expect(got).toMatchObject({ status: "NOERROR", answer: ["www.example.com. 60 A 192.0.2.1"] });
    expect(got.flags).toContain("ra");
    expect((await dig(dns.port, "web.service.consul A")).flags).toEqual(["qr", "aa", "rd", "ra"]);
    expect((await dig(dns.port, "no.example.com A")).status).toBe("NXDOMAIN");
  });

  test("fail over from a silent and a failing server to one that answers", async () => {
    const [silent, failing, good] = await Promise.all([
      nameServer({}, "silent"),
      nameServer({}, "fails"),
      nameServer({ "a.example.com A": [A("a.example.com", "192.0.2.2")] }),
    ]);
    const dns = await daemonWith([silent.server, failing.server, good.server]);
    expect((await dig(dns.port, "a.example.com A")).answer).toEqual(["a.example.com. 60 A 192.0.2.2"]);
  });

  test("are SERVFAIL when nobody answers in time, a closed port at once", async () => {
    const silent = await nameServer({}, "silent");
    const dns = await daemonWith([silent.server, { host: "127.0.0.1", port: 9 }]);
    const started = performance.now();
    expect(await dig(dns.port, "a.example.com A")).toMatchObject({ status: "SERVFAIL" });
    expect(performance.now() - started).toBeLessThan(1_500);
  });

  test("equal questions under way are one question to the server", async () => {
    const silent = await nameServer({}, "silent");
    const dns = await daemonWith([silent.server]);
    using client = udpClient(dns.port);
    for (let id = 1; id <= 50; id++) client.send(question("a.example.com", "A", id));
    await client.ask(question("a.example.com", "A", 99));
    expect(silent.asked).toEqual(["a.example.com A"]);
  });

  test("past 1,024 under way the next is SERVFAIL at once, and names of ours are answered as ever", async () => {
    const silent = await nameServer({}, "silent");
    const dns = await daemonWith([silent.server], { recursorTimeout: 15_000 });
    using client = udpClient(dns.port);
    const asked = () => new Set(silent.asked).size;
    // In pieces that sockets can hold.
    for (let id = 1; id <= 1_024; id++) {
      client.send(question(`n${id}.example.com`, "A", id));
      if (id % 64 === 0) await expect.poll(asked).toBe(id);
    }
    expect(rcodeOf(await client.ask(question("one.too.many", "A", 2_000)))).toBe("SERVFAIL");
    expect(silent.asked).not.toContain("one.too.many A");
    expect((await dig(dns.port, "web.service.consul")).answer).toEqual(["web.service.consul. 0 A 10.0.0.2"]);
  });

  test("an answer with another ID is no answer", async () => {
    const forger = await nameServer({ "a.example.com A": [A("a.example.com", "192.0.2.3")] }, "forges");
    const dns = await daemonWith([forger.server]);
    expect((await dig(dns.port, "a.example.com A")).answer).toEqual(["a.example.com. 60 A 192.0.2.3"]);
  });

  test.each(["A" as RecordType, "ANY" as RecordType])(
    "a recursor that is ourselves gets one question, refused (%s)",
    async (type) => {
      const catalog = await startFakeCatalog();
      onTestFinished(() => catalog.stop());
      const recursors: NameServer[] = [];
      const dns = await startFor(catalog, { recursors, recursorTimeout: 2_000 });
      onTestFinished(() => dns.close());
      recursors.push({ host: "127.0.0.1", port: dns.port });
      dns.reload(testConfig({ recursors }));
      using client = udpClient(dns.port);
      const started = performance.now();
      expect(rcodeOf(await client.ask(question("a.example.com", type, 5)))).toBe("REFUSED");
      expect(performance.now() - started).toBeLessThan(1_000);
    },
  );

  test("reverse names that nobody here has go to the recursors, too", async () => {
    const upstream = await nameServer({
      "9.9.9.9.in-addr.arpa PTR": [{ type: "PTR", name: "9.9.9.9.in-addr.arpa", ttl: 1, data: "x.example.com" }],
    });
    const dns = await daemonWith([upstream.server]);
    expect((await dig(dns.port, "-x 9.9.9.9")).answer).toEqual(["9.9.9.9.in-addr.arpa. 1 PTR x.example.com."]);
    expect((await dig(dns.port, "-x 10.0.0.1")).answer).toEqual(["1.0.0.10.in-addr.arpa. 0 PTR n1.node.dc1.consul."]);
  });
});

describe("instances whose address is a name", () => {
  test("are a CNAME with what it leads to, in the family asked for", async () => {
    const upstream = await nameServer({
      "www.example.com A": [A("www.example.com", "192.0.2.1")],
      "www.example.com AAAA": [AAAA("www.example.com", "2001:db8::1")],
    });
    const dns = await daemonWith([upstream.server]);
    const cname = "foreign.service.consul. 0 CNAME www.example.com.";
    expect((await dig(dns.port, "foreign.service.consul A")).answer).toEqual([cname, "www.example.com. 0 A 192.0.2.1"]);
    expect((await dig(dns.port, "foreign.service.consul AAAA")).answer).toEqual([
      cname,
      "www.example.com. 0 AAAA 2001:db8::1",
    ]);
    const srv = await dig(dns.port, "foreign.service.consul SRV");
    expect(srv.answer).toEqual(["foreign.service.consul. 0 SRV 1 1 80 www.example.com."]);
    expect(srv.additional.toSorted()).toEqual([
      "www.example.com. 0 A 192.0.2.1",
      "www.example.com. 0 AAAA 2001:db8::1",
    ]);
  });

  test("are a bare CNAME without recursors", async () => {
    const dns = await daemonWith([]);
    expect((await dig(dns.port, "foreign.service.consul A")).answer).toEqual([
      "foreign.service.consul. 0 CNAME www.example.com.",
    ]);
  });

  test.each(["MX", "TXT", "CNAME", "CAA"])("are a CNAME whatever is asked for: %s", async (type) => {
    const dns = await daemonWith([]);
    const got = await dig(dns.port, `foreign.service.consul ${type}`);
    expect(got).toMatchObject({ status: "NOERROR", answer: ["foreign.service.consul. 0 CNAME www.example.com."] });
    expect(await dig(dns.port, `web.service.consul ${type}`)).toMatchObject({ status: "NOERROR", answer: [] });
  });

  test("are followed inside our own zone, and a circle ends", async () => {
    const dns = await daemonWith([]);
    expect((await dig(dns.port, "inner.service.consul A")).answer).toEqual([
      "inner.service.consul. 0 CNAME web.service.consul.",
      "web.service.consul. 0 A 10.0.0.2",
    ]);
    // Three names beyond the one that is asked for.
    expect((await dig(dns.port, "two.service.consul A")).answer.at(-1)).toBe("web.service.consul. 0 A 10.0.0.2");
    expect((await dig(dns.port, "three.service.consul A")).answer.at(-1)).toBe("web.service.consul. 0 A 10.0.0.2");
    expect((await dig(dns.port, "four.service.consul A")).answer.at(-1)).toBe(
      "inner.service.consul. 0 CNAME web.service.consul.",
    );
    expect((await dig(dns.port, "own.service.consul SRV")).answer).toEqual([
      "own.service.consul. 0 SRV 1 1 80 n1.node.dc1.consul.",
    ]);
    expect(await dig(dns.port, "loop-a.service.consul A")).toMatchObject({ status: "NOERROR" });
  });

  test("live as long as their own name server has it, and no longer than the service's TTL", async () => {
    const table = (name: string) => ({
      [`${name} A`]: [CNAME(name, "end.example.com", 40), A("end.example.com", "192.0.2.1")],
      [`${name} AAAA`]: [CNAME(name, "end.example.com", 40), AAAA("end.example.com", "2001:db8::1")],
    });
    const upstream = await nameServer({ ...table("www.example.com"), ...table("host.example.com") });
    const dns = await daemonWith([upstream.server], { nodeTtl: 5_000, serviceTtl: { "*": 50_000 } });
    expect((await dig(dns.port, "foreign.service.consul A")).answer).toEqual([
      "foreign.service.consul. 50 CNAME www.example.com.",
      "www.example.com. 40 CNAME end.example.com.",
      "end.example.com. 50 A 192.0.2.1",
    ]);
    expect((await dig(dns.port, "named.node.consul AAAA")).answer).toEqual([
      "named.node.consul. 5 CNAME host.example.com.",
      "host.example.com. 40 CNAME end.example.com.",
      "end.example.com. 60 AAAA 2001:db8::1",
    ]);
  });

  test("have the alias that both families come by once (RFC 2181)", async () => {
    const cname = CNAME("www.example.com", "end.example.com", 40);
    const upstream = await nameServer({
      "www.example.com A": [cname, A("end.example.com", "192.0.2.1")],
      "www.example.com AAAA": [cname, AAAA("end.example.com", "2001:db8::1")],
    });
    const dns = await daemonWith([upstream.server]);
    const target = [
      "end.example.com. 0 A 192.0.2.1",
      "end.example.com. 0 AAAA 2001:db8::1",
      "www.example.com. 0 CNAME end.example.com.",
    ];
    expect((await dig(dns.port, "foreign.service.consul SRV")).additional.toSorted()).toEqual(target);
    const any = await dig(dns.port, "foreign.service.consul ANY");
    expect(any.answer.toSorted()).toEqual([
      ...target.slice(0, 2),
      "foreign.service.consul. 0 CNAME www.example.com.",
      ...target.slice(2),
    ]);
  });
});
