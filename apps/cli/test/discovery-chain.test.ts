/** Random config entries, written to Heddle and to Consul in the same order: each write's answer and each chain must be the same. */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { startConsul, startHeddle } from "./harness.ts";

const SEED = 20_261_124;
const GRAPHS = Number(process.env.HEDDLE_CHAIN_GRAPHS ?? 30); // about 20 writes and 7 chains each; more by hand
const SERVICES = ["a", "b", "c", "d", "e"];
const SUBSETS = ["v1", "v2"];
const KINDS = ["service-router", "service-splitter", "service-resolver", "service-defaults", "proxy-defaults"];

const ALL_HTTP = { Kind: "proxy-defaults", Name: "global", Config: { protocol: "http" } };

const some = <T>(arb: fc.Arbitrary<T>) => fc.option(arb, { nil: undefined, freq: 2 });
// In one case only: Consul finds entries whatever their case, yet misses some when it checks a write.
const service = fc.constantFrom(...SERVICES);
const subset = fc.constantFrom(...SUBSETS);
const datacenter = fc.constantFrom("dc1", "dc2", "dc3");
const mode = fc.record({ Mode: fc.constantFrom("", "local", "remote", "none") });
const protocol = fc.constantFrom("http", "http", "http", "HTTP2", "grpc", "tcp", "");
const failover = fc.record(
  { Service: some(service), ServiceSubset: some(subset), Datacenters: some(fc.array(datacenter, { maxLength: 3 })) },
  { requiredKeys: [] },
);
const subsets = fc.dictionary(subset, fc.record({ OnlyPassing: fc.boolean() }), { maxKeys: 2 });
const entry = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      Kind: fc.constant("service-defaults"),
      Name: service,
      Protocol: protocol,
      MeshGateway: mode,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      Kind: fc.constant("service-defaults"),
      Name: service,
      ExternalSNI: fc.constant("x.example"),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      Kind: fc.constant("proxy-defaults"),
      Name: fc.constant("global"),
      MeshGateway: mode,
      Config: fc.oneof(fc.record({ protocol }), fc.record({ Protocol: protocol })),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record(
      {
        Kind: fc.constant("service-resolver"),
        Name: service,
        Subsets: subsets,
        DefaultSubset: some(subset),
        ConnectTimeout: fc.constantFrom("0s", "1500ms", "90s"),
        Failover: some(fc.dictionary(fc.constantFrom("*", ...SUBSETS), failover, { maxKeys: 2 })),
      },
      { requiredKeys: ["Kind", "Name", "Subsets"] },
    ),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      Kind: fc.constant("service-resolver"),
      Name: service,
      Redirect: fc.record({ Service: service, ServiceSubset: subset, Datacenter: datacenter }, { requiredKeys: [] }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc
      .tuple(service, fc.array(fc.tuple(some(service), some(subset)), { minLength: 1, maxLength: 4 }))
      .map(([Name, to]) => ({
        Kind: "service-splitter",
        Name,
        Splits: to.map(([Service, ServiceSubset], i) => ({
          Weight: i === 0 ? 100 - (to.length - 1) * 24.7 : 24.7,
          Service,
          ServiceSubset,
        })),
      })),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      Kind: fc.constant("service-router"),
      Name: service,
      Routes: fc.array(
        fc.record(
          {
            Match: fc.constant({ HTTP: { PathPrefix: "/x" } }),
            Destination: fc.record({ Service: service, ServiceSubset: subset }, { requiredKeys: [] }),
          },
          { requiredKeys: [] },
        ),
        { maxLength: 3 },
      ),
    }),
  },
);
const overrides = fc.record(
  {
    OverrideProtocol: fc.constantFrom("tcp", "http", "grpc"),
    OverrideConnectTimeout: fc.constantFrom("5s", "33s"),
    OverrideMeshGateway: mode,
  },
  { requiredKeys: [] },
);
const graph = fc.record({
  entries: fc.array(entry, { minLength: 10, maxLength: 30 }),
  overrides,
  deleted: fc.array(fc.nat(29)),
});

test("random entries are taken, refused and compiled as by Consul", { timeout: 120_000 }, async ({ skip }) => {
  await using consul = await startConsul();
  if (!consul) return skip("no Consul to compare with");
  await using ours = await startHeddle();
  const counts = { written: 0, refused: 0, sameWords: 0, chains: 0 };
  for (const [i, { entries, overrides: body, deleted }] of fc
    .sample(graph, { seed: SEED, numRuns: GRAPHS })
    .entries()) {
    const both = async (method: string, path: string, sent?: unknown) => {
      const [want, got] = await Promise.all([ask(consul.url, method, path, sent), ask(ours.url, method, path, sent)]);
      if (want.status === 500 && got.status === 500) {
        // Of several failovers that cannot be, or chains that a write would break, Consul names one at random.
        counts.refused++;
        if (want.text === got.text) counts.sameWords++;
        return want;
      }
      expect(got, `graph ${i}: ${method} ${path} ${JSON.stringify(sent)}`).toEqual(want);
      return want;
    };
    // Most services of most graphs speak HTTP, or few routes could be made.
    if (i % 3 > 0) await both("PUT", "/v1/config", ALL_HTTP);
    for (const sent of entries) if ((await both("PUT", "/v1/config", sent)).status === 200) counts.written++;
    for (const name of SERVICES) {
      await both("GET", `/v1/discovery-chain/${name}`);
      await both("POST", `/v1/discovery-chain/${name}?compile-dc=dc2`, body);
      counts.chains += 2;
    }
    for (const at of deleted) {
      const gone = entries[at];
      if (gone) await both("DELETE", `/v1/config/${gone.Kind}/${gone.Name}`);
    }
    await clear(both);
  }
  expect(counts.sameWords).toBeGreaterThan(counts.refused * 0.8);
  expect(Math.min(...Object.values(counts))).toBeGreaterThan(GRAPHS);
});

async function ask(url: string, method: string, path: string, sent?: unknown) {
  const res = await fetch(url + path, { method, ...(sent !== undefined && { body: JSON.stringify(sent) }) });
  const text = (await res.text()).trim();
  if (!path.startsWith("/v1/discovery-chain")) return { status: res.status, text };
  return { status: res.status, text: res.ok ? (JSON.parse(withoutCluster(text)) as unknown) : text };
}

const withoutCluster = (text: string) => text.replace(/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "<cluster>");

/** Deletes everything; what others still need goes in a later round. */
async function clear(both: (method: string, path: string) => Promise<{ status: number }>): Promise<void> {
  for (let round = 0; round < 6; round++) {
    let refused = 0;
    for (const kind of KINDS)
      for (const name of kind === "proxy-defaults" ? ["global"] : SERVICES)
        if ((await both("DELETE", `/v1/config/${kind}/${name}`)).status !== 200) refused++;
    if (refused === 0) return;
  }
  throw new Error("some entries could not be deleted");
}
