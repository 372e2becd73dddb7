import { afterAll, beforeAll, expect, test } from "vitest";
import type { RunningDns } from "../src/server.ts";
import type { Explanation } from "../src/explain.ts";
import { dig, startFor } from "./dig.ts";
import { type FakeCatalog, startFakeCatalog, toCheckServiceNode } from "./fake-catalog.ts";

let catalog: FakeCatalog;
let dns: RunningDns;

beforeAll(async () => {
  catalog = await startFakeCatalog();
  catalog.register("web", [
    { node: "n1", address: "10.0.0.1", tags: ["v1"] },
    { node: "n2", address: "10.0.0.2", tags: ["v1"], checks: ["warning"] },
    { node: "n3", address: "10.0.0.3", tags: ["v1"], checks: ["passing", "critical", "warning"] },
    { node: "n4", address: "10.0.0.4", tags: ["v2"] },
    { node: "n5", address: "10.0.0.5", serviceAddress: "2001:db8::5", tags: ["v1"] },
    { node: "n6", address: "10.0.0.1", tags: ["v1"] },
    { node: "n7", address: "10.0.0.7", serviceAddress: "db.example.com", tags: ["v1"] },
  ]);
  catalog.set("/v1/internal/query/find", {
    Service: "web",
    Nodes: [toCheckServiceNode("web", { node: "n1", address: "10.0.0.1" })],
    LeftOut: [{ Node: "n4", ServiceID: "web", Reason: "it lacks the tag 'v1'" }],
    DNS: { TTL: "" },
    Datacenter: "dc1",
    Near: "",
  });
  dns = await startFor(catalog, { metricsPort: 0, onlyPassing: true, aRecordLimit: 1 });
});
afterAll(async () => {
  await dns?.close();
  await catalog?.stop();
});

const ask = (query: string) => fetch(`${dns.metricsUrl}/v1/internal/dns/explain?${query}`);
const explain = async (name: string, type: string) =>
  (await (await ask(`name=${encodeURIComponent(name)}&type=${type}`)).json()) as Explanation;
const reasons = ({ LeftOut }: Explanation) => Object.fromEntries(LeftOut.map((i) => [i.Node, i.Reason]));
const answered = ({ Answered }: Explanation) => Answered.map((i) => i.Node);

test("each instance that is left out has its reason", async () => {
  const told = await explain("V1.web.service.consul.", "A");
  expect(told).toMatchObject({
    Name: "v1.web.service.consul",
    Asks: "instances of service 'web' with the tag 'v1'",
    Status: "NOERROR",
    Records: 1,
    Stale: false,
  });
  expect(answered(told)).toEqual(["n1"]);
  expect(reasons(told)).toEqual({
    n2: "check 'check-0' is warning, and only_passing is set",
    n3: "check 'check-1' is critical",
    n4: "it lacks the tag 'v1' (it has v2)",
    n5: "its address 2001:db8::5 is not IPv4",
    n6: "another instance says the same",
    n7: "its address is the name 'db.example.com', which has no place beside others' addresses",
  });
  expect((await dig(dns.port, "v1.web.service.consul")).answer).toHaveLength(1);
});

test("the type decides, too, and SRV takes all that are fit", async () => {
  expect(answered(await explain("web.service", "AAAA"))).toEqual(["n5"]);
  const srv = await explain("web.service", "srv");
  expect(answered(srv)).toEqual(["n1", "n4", "n5", "n6", "n7"]);
  expect(srv.Notes).toEqual(["a UDP client without EDNS gets 3 of them, drawn at random"]);
  expect((await dig(dns.port, "web.service.consul SRV +tcp")).answer).toHaveLength(srv.Records);
  expect(reasons(await explain("web.service", "TXT"))).toMatchObject({ n1: "a service has no TXT records" });
  expect((await explain("web.service", "A")).Notes).toEqual([
    "a_record_limit lets 1 of 2 records out, drawn at random",
  ]);
});

test.each([
  ["nobody.service.consul", "NXDOMAIN", "no service 'nobody' is registered"],
  ["web.service.dc9.consul", "NXDOMAIN", "'dc9' is not this datacenter, which is 'dc1'"],
  ["web.connect.consul", "NXDOMAIN", "nothing that speaks Connect for 'web' is registered"],
  ["web.ingress.consul", "NXDOMAIN", "no ingress gateway serves 'web'"],
  ["web.virtual.consul", "NXDOMAIN", "no instance of 'web' was registered with a virtual address"],
  ["nobody.node.consul", "NXDOMAIN", "no node 'nobody' is registered"],
  ["n1.node.consul", "NOERROR", "the node's address is 10.0.0.1"],
  ["none.query.consul", "NXDOMAIN", "the query asks for service ''"],
  ["example.com", "", "a name of others: the recursors are asked, and without any it is refused"],
])("%s: %s, %s", async (name, Status, note) => {
  expect(await explain(name, "A")).toMatchObject({ Status, Notes: [note] });
});

test("what a prepared query left out is told in its words", async () => {
  const told = await explain("find.query.consul", "A");
  expect(told).toMatchObject({ Status: "NOERROR", Asks: "the answer of prepared query 'find'" });
  expect(answered(told)).toEqual(["n1"]);
  expect(reasons(told)).toEqual({ n4: "by the query: it lacks the tag 'v1'" });
});

test.each([
  ["", "Invalid name: want ?name= with a DNS name of at most 255 characters"],
  [`name=${"x".repeat(256)}`, "Invalid name"],
  ["name=web.service&type=WKS", 'Invalid type "WKS": want one of A, AAAA, SRV'],
  ["name=web.service&type=constructor", 'Invalid type "CONSTRUCTOR"'],
])("refused: ?%s", async (query, text) => {
  const answer = await ask(query);
  expect(answer.status).toBe(400);
  expect(await answer.text()).toContain(text);
});

test("no name makes it fail", async () => {
  for (const name of ["consul", "service.consul", ".", "x..y.service.consul", "_a._b.consul", "1.2.in-addr.arpa"])
    expect((await ask(`name=${encodeURIComponent(name)}`)).status, name).toBeLessThan(500);
});
