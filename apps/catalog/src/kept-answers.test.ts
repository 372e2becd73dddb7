/** Answers are kept until a topic is touched: whatever changes, what is kept must be what would be computed. */
import type { ConfigEntry } from "@heddle/config-entries";
import { silentLog } from "@heddle/daemon";
import { openStore } from "@heddle/store";
import { TEST_SERVER } from "@heddle/store/testing";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { createCatalog } from "./catalog.ts";
import { deleteConfigEntry, setConfigEntry } from "./commands/config-entries.ts";
import { deregister } from "./commands/deregister.ts";
import { register } from "./commands/register.ts";
import { toRegistration } from "./commands/registration.ts";
import { resolve } from "./stream.ts";

const NAMES = ["a", "B", "c"];
const GATEWAYS = ["g1", "g2"];
const PATHS = [
  "/v1/internal/ui/services",
  "/v1/config/",
  "/v1/config/service-intentions",
  ...GATEWAYS.flatMap((g) => [
    `/v1/catalog/gateway-services/${g}`,
    `/v1/internal/ui/gateway-services-nodes/${g}`,
    `/v1/health/service/${g}`,
    `/v1/config/terminating-gateway/${g}`,
  ]),
  ...NAMES.flatMap((s) => [
    `/v1/health/connect/${s}`,
    `/v1/health/ingress/${s}`,
    `/v1/catalog/connect/${s}`,
    `/v1/config/service-defaults/${s}`,
    `/v1/config/service-intentions/${s}`,
  ]),
];

const name = fc.constantFrom(...NAMES);
const gateway = fc.constantFrom(...GATEWAYS);
const node = fc.constantFrom("n1", "n2");
const linked = fc.uniqueArray(fc.constantFrom(...NAMES, "*"), { maxLength: 2 });
const service = fc.oneof(
  fc.record({ Service: name, ID: name }),
  name.map((s) => ({
    Kind: "connect-proxy",
    ID: `${s}-proxy`,
    Service: `${s}-proxy`,
    Port: 1,
    Proxy: { DestinationServiceName: s },
  })),
  fc.record({ Kind: fc.constantFrom("ingress-gateway", "terminating-gateway"), Service: gateway, Port: fc.nat(9) }),
);
const entry = fc.oneof(
  fc.record({
    Kind: fc.constant("terminating-gateway"),
    Name: gateway,
    Services: linked.map((names) => names.map((Name) => ({ Name }))),
  }),
  fc.record({
    Kind: fc.constant("ingress-gateway"),
    Name: gateway,
    TLS: fc.constant({ Enabled: false }),
    Listeners: linked.map((names) =>
      names.length === 0
        ? []
        : [{ Port: 80, Protocol: "http", Services: names.map((Name) => ({ Name, Hosts: null })) }],
    ),
  }),
  fc.record({
    Kind: fc.constant("service-defaults"),
    Name: name,
    Protocol: fc.constantFrom("http", "tcp"),
    MeshGateway: fc.constant({}),
    Expose: fc.constant({}),
  }),
  fc.record({
    Kind: fc.constant("service-intentions"),
    Name: name,
    Sources: name.map((Name) => [{ Name, Action: "deny", Type: "consul", Precedence: 9 }]),
  }),
);
const status = fc.constantFrom("passing", "critical");
const options = () => ({ datacenter: "dc1", now: new Date() });
const step = fc.oneof(
  fc
    .tuple(node, service)
    .map(([Node, Service]) => register(toRegistration({ Node, Address: "10.0.0.1", Service }, "dc1"))),
  fc.tuple(node, name, status).map(([Node, ServiceID, Status]) => {
    const Check = { CheckID: `of-${ServiceID}`, Name: "c", Status, ServiceID };
    return register(toRegistration({ Node, Address: "10.0.0.1", Check }, "dc1"));
  }),
  fc
    .tuple(node, fc.option(fc.oneof(name, gateway)))
    .map(([Node, ServiceID]) => deregister({ Node, ...(ServiceID !== null && { ServiceID }) })),
  entry.map((e) => setConfigEntry(e as ConfigEntry, options())),
  fc.tuple(entry).map(([{ Kind, Name }]) => deleteConfigEntry(Kind as ConfigEntry["Kind"], Name, options())),
);

test("an answer that is kept is the one that would be computed", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 40 }), async (steps) => {
      const store = await openStore({ dataDir: "", name: "catalog", log: silentLog });
      await using catalog = createCatalog({
        store,
        cluster: await store.join(TEST_SERVER),
        datacenter: "dc1",
        dnsDomain: "consul",
        nodeName: "n1",
        defaultIntentionPolicy: "allow",
        kvMaxValueSize: 1024,
        txnMaxReqLen: 1024,
        trustDomain: () => undefined,
        sessionTtlMinMs: 10_000,
        log: silentLog,
      });
      const questions = PATHS.map((path) => ({ path, question: resolve(catalog.questions, path) }));
      for (const command of steps) {
        await catalog.state.store.run(command).catch(() => {}); // a refusal changes nothing either
        for (const { path, question } of questions) {
          const kept = catalog.state.answers.now(question);
          const now = { ...question, key: `${question.key} computed anew`, keep: false };
          const computed = catalog.state.answers.now(now);
          expect(`${path} ${kept.body.toString()}`).toBe(`${path} ${computed.body.toString()}`);
        }
      }
    }),
    { numRuns: 100 },
  );
});
