import { encode } from "dns-packet";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { RunningDns } from "../src/index.ts";
import { dig, startFor } from "./dig.ts";
import { type FakeCatalog, startFakeCatalog } from "./fake-catalog.ts";
import { question, udpClient } from "./wire.ts";

let catalog: FakeCatalog;
let dns: RunningDns;
beforeAll(async () => {
  catalog = await startFakeCatalog();
  const address = (i: number) => `10.${Math.floor(i / 250)}.0.${(i % 250) + 1}`;
  const instances = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ node: `m${i}`, address: address(i) }));
  catalog.register("huge", instances(1_000));
  catalog.register("big", instances(60));
  catalog.register("giant", instances(5_000));
  catalog.register("meta", [
    { node: "fat", address: "10.7.0.1", meta: { long: "x".repeat(300), other: "y".repeat(200) } },
  ]);
  dns = await startFor(catalog);
});
afterAll(async () => {
  await dns?.close();
  await catalog?.stop();
});

test.each([
  ["huge.service.consul A", 3, 512, true],
  ["huge.service.consul SRV", 3, 512, true],
  ["huge.service.consul A +edns=0 +bufsize=100", 3, 512, true],
  ["huge.service.consul A +edns=0 +bufsize=512", 3, 512, true],
  ["huge.service.consul A +edns=0 +bufsize=1232", 73, 1232, true],
  ["huge.service.consul SRV +edns=0 +bufsize=1232", 21, 1232, true],
  ["huge.service.consul A +edns=0 +bufsize=4096", 252, 4096, true],
  ["big.service.consul A +edns=0 +bufsize=1232", 60, 1232, false],
  ["big.service.consul SRV +edns=0 +bufsize=4096", 60, 4096, false],
  ["huge.service.consul A +tcp", 1_000, 65_535, false],
  ["huge.service.consul SRV +tcp", 1_000, 65_535, false],
  ["giant.service.consul A +tcp", 4_092, 65_535, true],
])("%s: %i records within %i bytes, truncated: %s", async (question, count, limit, isTruncated) => {
  const got = await dig(dns.port, question);
  expect(got.answer.length).toBeGreaterThanOrEqual(count);
  if (!isTruncated) expect(got.answer).toHaveLength(count);
  expect(got.bytes).toBeLessThanOrEqual(limit);
  expect(got.flags.includes("tc")).toBe(isTruncated);
  expect(new Set(got.answer).size).toBe(got.answer.length);
});

test("dig itself goes on over TCP and gets all", async () => {
  const got = await dig(dns.port, "huge.service.consul A +noignore");
  expect(got).toMatchObject({ isTcp: true });
  expect(got.answer).toHaveLength(1_000);
});

test("a client that claims room for everything gets 4,096 bytes", async () => {
  using client = udpClient(dns.port);
  const opt = { udpPayloadSize: 65_535, extendedRcode: 0, ednsVersion: 0, flags: 0, flag_do: false, options: [] };
  const additionals = [{ type: "OPT" as const, name: ".", ...opt }];
  const questions = [{ type: "A" as const, name: "huge.service.consul" }];
  const { answers, flag_tc } = await client.ask(encode({ type: "query", id: 7, questions, additionals }));
  expect(answers).toHaveLength(253);
  expect(flag_tc).toBe(true);
});

test("every SRV record of a full answer has its address beside it", async () => {
  const { answer, additional } = await dig(dns.port, "big.service.consul SRV +tcp");
  const owners = new Set(additional.map((line) => line.split(" ")[0]));
  for (const line of answer) expect(owners).toContain(line.split(" ").at(-1));
});

test("text that fits no datagram waits for TCP; in addition to an address it is left out without TC", async () => {
  const udp = await dig(dns.port, "fat.node.consul TXT");
  expect(udp.flags).toContain("tc");
  expect((await dig(dns.port, "fat.node.consul TXT +tcp")).answer).toHaveLength(2);
  const address = await dig(dns.port, "fat.node.consul A");
  expect(address).toMatchObject({ status: "NOERROR", answer: ["fat.node.consul. 0 A 10.7.0.1"] });
  expect(address.flags).not.toContain("tc");
});

test("the order is random and every instance gets its share", async () => {
  const counts = new Map<string, number>();
  using client = udpClient(dns.port);
  for (let id = 0; id < 400; id++) {
    const { answers = [] } = await client.ask(question("big.service.consul", "A", id));
    for (const rr of answers) counts.set(JSON.stringify(rr), (counts.get(JSON.stringify(rr)) ?? 0) + 1);
  }
  expect(counts.size).toBe(60);
  // 20 expected each, binomial: 4 to 45 is beyond five standard deviations.
  for (const count of counts.values()) expect(count).toBeGreaterThanOrEqual(4);
  for (const count of counts.values()) expect(count).toBeLessThanOrEqual(45);
});

test("limits and the switches of compatibility", async () => {
  await using other = await startFor(catalog, {
    aRecordLimit: 20,
    udpAnswerLimit: 5,
    enableTruncate: false,
    disableCompression: true,
    altDomain: "mesh.test",
    serviceTtl: { "*": 22_000, big: 33_000 },
    nodeTtl: 11_000,
    soaMinTtl: 44_000,
  });
  const udp = await dig(other.port, "big.service.mesh.test A");
  expect(udp.answer).toHaveLength(5);
  expect(udp.answer[0]).toMatch(/^big\.service\.mesh\.test\. 33 A /);
  expect(udp.flags).not.toContain("tc");
  expect((await dig(other.port, "big.service.consul A +tcp")).answer).toHaveLength(20);
  const srv = await dig(other.port, "big.service.consul SRV +tcp");
  expect(srv.answer).toHaveLength(60);
  expect(srv.additional).toHaveLength(60);
  expect((await dig(other.port, "huge.service.consul A")).answer[0]).toMatch(/ 22 A /);
  expect((await dig(other.port, "m1.node.consul A")).answer[0]).toMatch(/ 11 A /);
  expect((await dig(other.port, "no.service.consul A")).authority[0]).toMatch(/^consul\. 44 SOA .* 44$/);
});
