import { describe, expect, test } from "vitest";
import { formatAddress } from "../codec/address.ts";
import { RCODE, TYPE } from "../codec/constants.ts";
import { type Instance, formatRfc1464, toInstances, worst } from "./instance.ts";
import { parseReverse } from "./reverse.ts";
import { parseLookup } from "./route.ts";
import { healthy, serviceRecords, withTag } from "./service.ts";
import { createZone, nxDomain, serviceTtlMs, type ZoneSettings } from "./zone.ts";

const SETTINGS: ZoneSettings = {
  domain: "Consul.",
  altDomain: "mesh.test",
  datacenter: "dc1",
  nodeTtlMs: 0,
  serviceTtlMs: {},
  nodeMetaTxt: true,
  soa: { refreshMs: 3_600_000, retryMs: 600_000, expireMs: 86_400_000, minTtlMs: 0 },
};
const zone = createZone(SETTINGS);

describe("parseLookup", () => {
  const service = (name: string, tag = "", datacenter = "") => ({ kind: "service", name, tag, datacenter });
  test.each([
    ["web.service", "A", service("web")],
    ["web.service.dc1", "A", service("web", "", "dc1")],
    ["web.service.dc1.dc", "A", service("web", "", "dc1")],
    ["web.service.dc1.x", "A", { kind: "none" }],
    ["v1.web.service", "A", service("web", "v1")],
    ["a.b.web.service", "A", service("web", "a.b")],
    ["_web._tcp.service", "A", service("web")],
    ["_web._v1.service", "SRV", service("web", "v1")],
    ["_web._tcp", "SRV", service("web")],
    ["_web._tcp", "A", { kind: "none" }],
    ["_web._tcp.dc1", "SRV", service("web", "", "dc1")],
    ["web.connect", "A", { kind: "connect", name: "web", datacenter: "" }],
    ["x.web.connect.dc1", "A", { kind: "connect", name: "web", datacenter: "dc1" }],
    ["web.ingress", "A", { kind: "ingress", name: "web", datacenter: "" }],
    ["web.virtual", "A", { kind: "virtual", name: "web", datacenter: "" }],
    ["n1.node", "A", { kind: "node", name: "n1", datacenter: "" }],
    ["dotted.name.node.dc2", "A", { kind: "node", name: "dotted.name", datacenter: "dc2" }],
    ["db.service.node", "A", { kind: "node", name: "db.service", datacenter: "" }],
    ["a.b.query", "A", { kind: "query", name: "a.b", datacenter: "" }],
    ["_a._tcp.query", "SRV", { kind: "query", name: "a", datacenter: "" }],
    ["0a000001.addr.dc1", "A", { kind: "addr", address: Buffer.from([10, 0, 0, 1]) }],
    ["0a0000.addr", "A", { kind: "none" }],
    ["x.0a000001.addr", "A", { kind: "none" }],
    ["service", "A", { kind: "none" }],
    ["node", "A", { kind: "none" }],
    ["nonsense", "A", { kind: "none" }],
  ] as const)("%s %s", (name, type, lookup) => {
    expect(parseLookup(name.split("."), TYPE[type])).toEqual(lookup);
  });
});

describe("zone", () => {
  test.each([
    ["consul", []],
    ["mesh.test", []],
    ["web.service.consul", ["web", "service"]],
    ["web.service.mesh.test", ["web", "service"]],
    ["fooconsul", undefined],
    ["test", undefined],
    ["consul.example", undefined],
    ["", undefined],
  ])("'%s' is ours by the labels %j", (name, labels) => {
    expect(zone.trim(name)).toEqual(labels);
  });

  test.each([
    ["web", 10],
    ["WEB", 10],
    ["web-api", 20],
    ["webbing", 15],
    ["db", 5],
  ])("the TTL of %s is %i", (name, ttl) => {
    expect(serviceTtlMs({ "*": 5, web: 10, "web*": 15, "web-*": 20 }, name)).toBe(ttl);
  });

  test("without a pattern the TTL is 0", () => expect(serviceTtlMs({}, "web")).toBe(0));

  test("the SOA's serial is the time", () => {
    const [soa] = nxDomain(zone, 1_700_000_000_900).authority;
    expect(soa?.body.readUInt32BE(soa.body.length - 20)).toBe(1_700_000_000);
    expect(nxDomain(zone, 0).rcode).toBe(RCODE.NXDOMAIN);
  });

  test("a domain that is no name is refused", () => {
    expect(() => createZone({ ...SETTINGS, domain: "a..b" })).toThrow("invalid domain 'a..b': not a DNS name");
  });
});

describe("reverse names", () => {
  test.each([
    ["1.0.0.10.in-addr.arpa", "0a000001", "10.0.0.1"],
    [`1.${"0.".repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa`, "20010db8000000000000000000000001", "2001:db8::1"],
  ])("%s", (name, hex, text) => {
    expect(parseReverse(name)).toBe(hex);
    expect(formatAddress(hex)).toBe(text);
  });

  test.each([
    "arpa",
    "in-addr.arpa",
    "0.0.10.in-addr.arpa",
    "256.0.0.10.in-addr.arpa",
    "01.0.0.10.in-addr.arpa",
    "x.arpa",
    "1.2.ip6.arpa",
  ])("%s is no address", (name) => expect(parseReverse(name)).toBeUndefined());
});

describe("instances", () => {
  test.each([
    [[], "passing"],
    [["passing", "warning"], "warning"],
    [["warning", "critical"], "critical"],
    [["maintenance"], "critical"],
  ])("checks %j make it %s", (statuses, status) => expect(worst(statuses)).toBe(status));

  test("whatever JSON the catalog sends makes instances", () => {
    for (const body of [
      null,
      3,
      "x",
      {},
      [null],
      [{}],
      [{ Node: 1, Service: [], Checks: {} }],
      [{ Service: { Tags: [1, null] } }],
    ])
      expect(() => toInstances(body)).not.toThrow();
  });

  test.each([
    ["a=b`c", "v`w=x", "a`=b``c=v``w=x"],
    [" sp ", " val ", "` sp` = val "],
    ["  two  ", "x", "` ` two` ` =x"],
    ["", "", "="],
  ])("meta '%s' = '%s' is '%s' (RFC 1464)", (key, value, text) => expect(formatRfc1464(key, value)).toBe(text));
});

describe("service records", () => {
  const instance = (more: Partial<Instance>): Instance => ({
    node: "n1",
    nodeAddress: "10.0.0.1",
    datacenter: "dc1",
    meta: {},
    id: "web",
    sickCheck: "",
    address: "",
    nodeLan: { v4: "", v6: "" },
    lan: { v4: "", v6: "" },
    virtual: "",
    port: 80,
    tags: [],
    status: "passing",
    weight: 1,
    ...more,
  });
  const count = (instances: Instance[], type: number, name = "web.service.consul") => {
    const { records, hosts } = serviceRecords(instances, type, { zone, ttl: 0, name });
    return [records.length, hosts.length];
  };

  test("critical ones never count, those with a warning unless only passing ones do", () => {
    const list = (["passing", "warning", "critical"] as const).map((status) => instance({ status }));
    expect(healthy(list, false).map((i) => i.status)).toEqual(["passing", "warning"]);
    expect(healthy(list, true).map((i) => i.status)).toEqual(["passing"]);
    expect(withTag([instance({ tags: ["v1"] }), instance({})], "v1")).toHaveLength(1);
  });

  test.each([
    ["the same address twice", [instance({}), instance({ port: 81 })], "A", [1, 0]],
    ["the same address, other ports", [instance({}), instance({ port: 81 })], "SRV", [2, 0]],
    ["the same port twice", [instance({}), instance({})], "SRV", [1, 0]],
    [
      "one address on two nodes",
      [instance({ address: "10.5.5.5" }), instance({ address: "10.5.5.5", node: "n2" })],
      "SRV",
      [2, 0],
    ],
    ["IPv6 asked for IPv4", [instance({ address: "2001:db8::1" })], "A", [0, 0]],
    ["a name", [instance({ address: "x.example.com" })], "A", [1, 1]],
    [
      "two names are one CNAME",
      [instance({ address: "x.example.com" }), instance({ address: "y.example.com" })],
      "A",
      [1, 1],
    ],
    [
      "two names are two targets",
      [instance({ address: "x.example.com" }), instance({ address: "y.example.com" })],
      "SRV",
      [2, 2],
    ],
    ["a name beside an address", [instance({ address: "x.example.com" }), instance({})], "A", [1, 0]],
    ["a name of a node", [instance({ nodeAddress: "x.example.com" })], "AAAA", [1, 1]],
    ["its own name", [instance({ address: "Web.Service.Consul." })], "A", [1, 0]],
    ["a node with a name no DNS has", [instance({ node: "x".repeat(64) })], "SRV", [0, 0]],
    ["no address at all", [instance({ nodeAddress: "" })], "A", [0, 0]],
    ["text", [instance({})], "TXT", [0, 0]],
    ["a tagged address of its node", [instance({ nodeLan: { v4: "", v6: "2001:db8::1" } })], "AAAA", [1, 0]],
    [
      "its own address, and none of its node's",
      [instance({ address: "10.5.5.5", nodeLan: { v4: "", v6: "2001:db8::1" } })],
      "AAAA",
      [0, 0],
    ],
    ["a tagged address alone", [instance({ lan: { v4: "", v6: "2001:db8::2" } })], "AAAA", [1, 0]],
    [
      "a tagged address instead of a name",
      [instance({ nodeAddress: "x.example.com", nodeLan: { v4: "10.0.0.2", v6: "" } })],
      "A",
      [1, 0],
    ],
  ] as const)("%s", (_what, instances, type, counts) => {
    expect(count([...instances], TYPE[type])).toEqual(counts);
  });
});
