import type { DecodedPacket } from "dns-packet";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { RunningDns } from "../src/index.ts";
import { startFor, testConfig } from "./dig.ts";
import { type FakeCatalog, startFakeCatalog } from "./fake-catalog.ts";
import { closed, framed, question, rcodeOf, readMessages, tcpClient, udpClient } from "./wire.ts";
import { silentLog } from "@heddle/daemon";
import { start } from "../src/index.ts";

let catalog: FakeCatalog;
let dns: RunningDns;
beforeAll(async () => {
  catalog = await startFakeCatalog();
  catalog.register("web", [{ node: "n1", address: "10.0.0.1" }]);
  dns = await startFor(catalog);
});
afterAll(async () => {
  await dns?.close();
  await catalog?.stop();
});

const good = () => question("web.service.consul", "A", 0xbeef);
const isGood = (answer: DecodedPacket | undefined) => answer?.answers?.length === 1 && rcodeOf(answer) === "NOERROR";

test("20,000 malformed datagrams: no crash, no growth, good questions answered", async () => {
  using client = udpClient(dns.port);
  const packets = fc.sample(mutatedQuestion, { numRuns: 2_000, seed: 42 });
  expect(isGood(await client.ask(good()))).toBe(true);
  const before = process.memoryUsage().rss;
  for (let round = 0; round < 10; round++) {
    for (const packet of packets) client.send(packet);
    expect(isGood(await client.ask(good()))).toBe(true);
  }
  expect(process.memoryUsage().rss - before).toBeLessThan(40 * 1024 * 1024);
});

// A good question with some bytes changed, cut off, or something after it; and plain noise.
const mutatedQuestion = fc.oneof(
  fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes)),
  fc
    .record({
      edits: fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 6 }),
      cut: fc.option(fc.nat(40)),
      tail: fc.uint8Array({ maxLength: 40 }),
    })
    .map(({ edits, cut, tail }) => {
      const packet = Buffer.concat([question("web.service.consul", "SRV", 1), tail]);
      for (const [at, value] of edits) if (at < packet.length) packet[at] = value;
      return cut === null ? packet : packet.subarray(0, cut);
    }),
);

test("an answer is never answered", async () => {
  using client = udpClient(dns.port);
  const answer = good();
  answer[2] = 0x80;
  client.send(answer);
  await expect(client.ask(answer, 200)).rejects.toThrow("no answer");
});

test("500 idle and 200 dribbling connections: UDP and new TCP are answered", async () => {
  const sockets = await Promise.all(Array.from({ length: 500 }, () => tcpClient(dns.port)));
  const liars = await Promise.all(Array.from({ length: 200 }, () => tcpClient(dns.port)));
  onTestFinished(() => [...sockets, ...liars].forEach((s) => s.destroy()));
  for (const liar of liars) liar.write(Buffer.from([0xff, 0xff, 1]));
  using client = udpClient(dns.port);
  expect(isGood(await client.ask(good()))).toBe(true);
  const fresh = await tcpClient(dns.port);
  fresh.write(framed(good()));
  const [answer] = await readMessages(fresh, 1);
  expect(isGood(answer)).toBe(true);
  // A length that no question has ends the connection at once.
  await Promise.all(liars.map(closed));
});

test("an idle connection and one that dribbles are closed within ten seconds", { timeout: 20_000 }, async () => {
  const started = performance.now();
  const [idle, dribbling] = await Promise.all([tcpClient(dns.port), tcpClient(dns.port)]);
  const packet = framed(good());
  let sent = 0;
  const dribble = setInterval(() => dribbling.write(packet.subarray(sent, ++sent)), 500);
  await Promise.all([closed(idle), closed(dribbling)]);
  clearInterval(dribble);
  expect(performance.now() - started).toBeLessThan(11_000);
});

test("questions in one segment, split anywhere, or before the client's FIN are all answered", async () => {
  const many = await tcpClient(dns.port);
  many.end(framed(...Array.from({ length: 500 }, (_, i) => question("web.service.consul", "A", i))));
  const answers = await readMessages(many, 500);
  expect(new Set(answers.map((a) => a.id)).size).toBe(500);
  const bytes = framed(good(), good());
  for (const at of [1, 2, 7, bytes.length / 2, bytes.length - 1]) {
    const socket = await tcpClient(dns.port);
    socket.write(bytes.subarray(0, at));
    await new Promise((resolve) => setImmediate(resolve));
    socket.write(bytes.subarray(at));
    expect(await readMessages(socket, 2)).toHaveLength(2);
    socket.destroy();
  }
});

test("a port in use is an error that names it and its holder", async () => {
  const config = testConfig({ catalogUrl: catalog.url, port: dns.port });
  await expect(start(config, { log: silentLog })).rejects.toThrow(
    new RegExp(
      `cannot listen on 127\\.0\\.0\\.1:${dns.port} \\(tcp\\): the port is in use by .+ \\(pid ${process.pid}\\)`,
    ),
  );
});

test("a catalog elsewhere is not followed in plain text", async () => {
  const config = testConfig({ catalogUrl: "http://192.0.2.1:8300" });
  await expect(start(config, { log: silentLog })).rejects.toThrow("refusing to follow the catalog in plain text");
});
