/** The resolvers that programs use, on port 53 of a network namespace of their own: dig, kdig, drill, glibc and Node agree. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, type TestContext } from "vitest";
import { HEDDLE, type Result, run, start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

const INSTANCES = 60; // more than a datagram holds: whoever does not go on over TCP is seen

const SERVICES = [
  { id: "w1", name: "web", address: "10.0.0.1", port: 80, tags: ["v1"] },
  { id: "w2", name: "web", address: "10.0.0.2", port: 81, tags: ["v2"], weights: { passing: 7, warning: 1 } },
  {
    id: "d",
    name: "dual",
    address: "10.0.0.3",
    port: 82,
    tagged_addresses: { lan_ipv6: { address: "2001:db8::3", port: 82 } },
  },
  { id: "six", name: "six", address: "2001:db8::6", port: 83 },
  { id: "inner", name: "inner", address: "web.service.consul", port: 84 },
  ...Array.from({ length: INSTANCES }, (_, i) => ({ id: `b${i}`, name: "big", address: `10.1.0.${i + 1}`, port: 85 })),
];

/** An agent whose DNS is what /etc/resolv.conf names; `inside` runs a program beside it. */
async function agentWithResolver(ctx: TestContext) {
  needs(ctx, "unshare", "nsenter", "ip", "getent", "dig", "kdig", "drill", "curl");
  if ((await run("unshare", ["-n", "-m", "true"])).status !== 0) ctx.skip("no right to make a network namespace");
  const dir = mkdtempSync(join(tmpdir(), "heddle-resolvers-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  writeFileSync(join(dir, "resolv.conf"), "nameserver 127.0.0.1\nsearch service.consul\noptions timeout:2\n");
  writeFileSync(join(dir, "nsswitch.conf"), "hosts: files dns\n");
  writeFileSync(
    join(dir, "c.json"),
    JSON.stringify({ node_name: "n1", ports: { dns: 53, grpc: -1 }, services: SERVICES }),
  );
  const script = `ip link set lo up
mount --bind "$0/resolv.conf" /etc/resolv.conf
mount --bind "$0/nsswitch.conf" /etc/nsswitch.conf
exec "$1" agent -dev -config-file="$0/c.json"`;
  const agent = start("unshare", ["-n", "-m", "sh", "-ec", script, dir, HEDDLE]);
  const inside = (...command: string[]): Promise<Result> =>
    run("nsenter", ["-t", String(agent.child.pid), "-n", "-m", ...command]);
  const lines = async (...command: string[]) =>
    (await inside(...command)).out
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith(";"))
      .toSorted();
  await agent.printed(`Synced service: service=b${INSTANCES - 1}`);
  return { inside, lines };
}

/** Addresses as getaddrinfo gives them to any program. */
const toAddresses = (ahosts: string[]) => [...new Set(ahosts.map((line) => line.split(/\s+/)[0] ?? ""))].toSorted();

test("all give the same answers, large ones too", { timeout: 60_000 }, async (ctx) => {
  const { inside, lines } = await agentWithResolver(ctx);
  const dig = (...q: string[]) => lines("dig", "+short", ...q);
  const kdig = (...q: string[]) => lines("kdig", "+short", ...q);
  const drill = async (name: string, type: string) =>
    (await lines("drill", "-a", "-Q", name, type)).map((line) => line.replaceAll("\t", " "));
  const node = async (expression: string) => {
    const { out, err } = await inside(
      process.execPath,
      "-e",
      `const dns = require("node:dns").promises;
      (${expression}).then((r) => console.log(JSON.stringify(r)), (e) => console.log(JSON.stringify(e.code)));`,
    );
    expect(err).toBe("");
    return JSON.parse(out) as unknown;
  };
  const glibc = async (name: string, database = "ahosts") => toAddresses(await lines("getent", database, name));

  const big = Array.from({ length: INSTANCES }, (_, i) => `10.1.0.${i + 1}`).toSorted();
  for (const [name, v4, v6] of [
    ["web.service.consul", ["10.0.0.1", "10.0.0.2"], []],
    ["v2.web.service.dc1.consul", ["10.0.0.2"], []],
    ["dual.service.consul", ["10.0.0.3"], ["2001:db8::3"]],
    ["six.service.consul", [], ["2001:db8::6"]],
    ["big.service.consul", big, []],
    ["n1.node.consul", ["127.0.0.1"], []],
  ] as const) {
    for (const ask of [dig, kdig, drill]) {
      expect(await ask(name, "A"), `${ask.name} ${name} A`).toEqual(v4);
      expect(await ask(name, "AAAA"), `${ask.name} ${name} AAAA`).toEqual(v6);
    }
    expect(await glibc(name), `getaddrinfo ${name}`).toEqual([...v4, ...v6]);
    const all = `dns.lookup("${name}", { all: true }).then((l) => l.map((a) => a.address).toSorted())`;
    expect(await node(all), `dns.lookup ${name}`).toEqual([...v4, ...v6]);
  }

  const srv = ["1 1 80 0a000001.addr.dc1.consul.", "1 7 81 0a000002.addr.dc1.consul."];
  for (const ask of [dig, kdig, drill])
    for (const name of ["web.service.consul", "_web._tcp.service.consul"]) expect(await ask(name, "SRV")).toEqual(srv);
  expect(await node(`dns.resolveSrv("_web._tcp.service.consul").then((l) => l.map((r) => r.name).toSorted())`)).toEqual(
    ["0a000001.addr.dc1.consul", "0a000002.addr.dc1.consul"],
  );
  expect(await node(`dns.resolveSrv("big.service.consul").then((l) => l.length)`)).toBe(INSTANCES);

  // The search list, any spelling, a name that leads to another, and what is not there.
  expect(await glibc("web")).toEqual(["10.0.0.1", "10.0.0.2"]);
  expect(await glibc("WEB.Service.Consul")).toEqual(["10.0.0.1", "10.0.0.2"]);
  expect(await glibc("inner.service.consul")).toEqual(["10.0.0.1", "10.0.0.2"]);
  expect(await lines("getent", "hosts", "127.0.0.1")).toEqual([expect.stringMatching(/ (?:localhost|n1\.node)/)]);
  expect(await inside("getent", "ahosts", "nobody.service.consul")).toMatchObject({ status: 2, out: "" });
  expect(await node(`dns.resolve4("nobody.service.consul")`)).toBe("ENOTFOUND");
  expect(await node(`dns.resolve6("web.service.consul")`)).toBe("ENODATA");
  for (const tool of ["kdig", "drill"]) {
    expect((await inside(tool, "nobody.service.consul")).out).toMatch(/NXDOMAIN/);
    expect((await inside(tool, "example.com")).out).toMatch(/REFUSED/);
  }
});
