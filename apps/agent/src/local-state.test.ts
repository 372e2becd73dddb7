import { silentLog } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { parseCheckDefinition, parseServiceDefinition } from "@heddle/service-definition";
import { openStore } from "@heddle/store";
import { expect, test, vi } from "vitest";
import { AliasChecks } from "./checks/alias.ts";
import { TtlChecks } from "./checks/ttl.ts";
import { type LocalChange, LocalState } from "./local-state.ts";
import { Registrar } from "./registrar.ts";
import { SidecarPorts } from "./sidecar-ports.ts";

async function setUp(clock = new ManualClock()) {
  const store = await openStore({ dataDir: "", name: "agent", log: silentLog });
  const state = new LocalState({ store, nodeName: "n1", clock, log: silentLog });
  const ports = new SidecarPorts({ store, min: 0, max: 0, claimed: () => new Map() });
  const registrar = new Registrar({ state, ports, scripts: { remote: false, local: false } });
  const changes: LocalChange[] = [];
  state.onChange((c) => changes.push(...c));
  return { store, state, registrar, changes, clock };
}

const service = (body: object) => parseServiceDefinition(body);
const withSidecar = (name: string, port: number) =>
  service({ Name: name, Port: 1, Connect: { SidecarService: { Port: port } } });

test("a service brings its sidecar, and takes it away again", async () => {
  const { state, registrar } = await setUp();
  await registrar.service(withSidecar("web", 21_005), "api");
  expect(state.services().map((s) => s.definition.ID)).toEqual(["web", "web-sidecar-proxy"]);
  expect(state.checks().map((c) => c.definition.Name)).toEqual([
    "Connect Sidecar Listening",
    "Connect Sidecar Aliasing web",
  ]);
  await registrar.service(service({ Name: "web", Port: 1 }), "api");
  expect(state.services().map((s) => s.definition.ID)).toEqual(["web"]);
  expect(state.checks()).toEqual([]);
});

test("registering the same again changes nothing", async () => {
  const { registrar, changes } = await setUp();
  await registrar.service(withSidecar("web", 21_005), "api");
  changes.length = 0;
  await registrar.service(withSidecar("web", 21_005), "api");
  expect(changes).toEqual([]);
});

test("a reload takes away what files gave, not what the API gave", async () => {
  const { state, registrar } = await setUp();
  await registrar.service(service({ Name: "by-api" }), "api");
  await registrar.files(
    [service({ Name: "one" }), service({ Name: "two" })],
    [parseCheckDefinition({ Name: "c", TTL: "10s" })],
  );
  await registrar.files([service({ Name: "two" })], []);
  expect(state.services().map((s) => s.definition.ID)).toEqual(["by-api", "two"]);
  expect(state.checks()).toEqual([]);
});

test("scripts are refused where they are not enabled, and nothing is half done", async () => {
  const { state, registrar } = await setUp();
  const script = service({ Name: "s", Check: { Args: ["/bin/true"], Interval: "10s" } });
  await expect(registrar.service(script, "api")).rejects.toThrow(
    "Scripts are disabled on this agent from remote calls",
  );
  await expect(registrar.files([service({ Name: "ok" }), script], [])).rejects.toThrow(
    "Scripts are disabled on this agent",
  );
  expect(state.services()).toEqual([]);
});

test("a TTL check is critical when no heartbeat came in time, and keeps what was said last", async () => {
  const { state, registrar, clock } = await setUp();
  const ttl = new TtlChecks(state, clock);
  await registrar.check(parseCheckDefinition({ CheckID: "t", Name: "t", TTL: "10s" }), "api");
  expect(await ttl.heartbeat("t", "passing", "fine")).toBe(true);
  clock.advance(9_999);
  expect(state.checkState("t").status).toBe("passing");
  clock.advance(2);
  expect(state.checkState("t")).toEqual({
    status: "critical",
    output: "TTL expired (last output before timeout follows): fine",
  });
  expect(await ttl.heartbeat("none", "passing", "")).toBe(false);
  ttl.close();
});

test("a TTL check's state outlives a restart until its time is up", async () => {
  const { store, registrar, state, clock } = await setUp();
  const ttl = new TtlChecks(state, clock);
  await registrar.check(parseCheckDefinition({ CheckID: "t", Name: "t", TTL: "10s" }), "api");
  await ttl.heartbeat("t", "passing", "fine");
  ttl.close();
  clock.advance(5_000);
  const again = new LocalState({ store, nodeName: "n1", clock, log: silentLog });
  expect(again.checkState("t").status).toBe("passing");
  clock.advance(6_000);
  expect(new LocalState({ store, nodeName: "n1", clock, log: silentLog }).checkState("t").status).toBe("critical");
});

test("an alias is as well as the service that it stands for", async () => {
  const { state, registrar } = await setUp();
  const alias = new AliasChecks({ state, catalog: {} as never, nodeName: "n1", log: silentLog });
  await registrar.service(
    service({ Name: "db", Check: { CheckID: "db", Name: "db up", TTL: "1m", Status: "passing" } }),
    "api",
  );
  await registrar.service(service({ Name: "web", Check: { CheckID: "alias", Name: "a", AliasService: "db" } }), "api");
  const isNow = (status: string, output: string) =>
    vi.waitFor(() => expect(state.checkState("alias")).toEqual({ status, output }));
  await isNow("passing", "All checks passing.");
  state.setCheckState("db", "critical", "gone");
  await isNow("critical", 'Aliased check "db up" failing: gone');
  await state.removeService("db");
  await isNow("critical", "Service db could not be found on node n1");
  alias.close();
});

test("aliases that stand for each other count what is no alias, and none is sick by itself", async () => {
  const { state, registrar } = await setUp();
  const alias = new AliasChecks({ state, catalog: {} as never, nodeName: "n1", log: silentLog });
  const check = (definition: Record<string, string>) => registrar.check(parseCheckDefinition(definition), "api");
  await registrar.service(service({ Name: "web" }), "api");
  await registrar.service(service({ Name: "db" }), "api");
  await check({ CheckID: "node", Name: "node", TTL: "1m", Status: "passing" });
  await check({ CheckID: "a", Name: "a", AliasNode: "n1" });
  await check({ CheckID: "b", Name: "b", AliasService: "web" });
  await check({ CheckID: "c", Name: "c", AliasService: "db", ServiceID: "web" });
  await check({ CheckID: "d", Name: "d", AliasService: "web", ServiceID: "db" });
  const all = () => ["a", "b", "c", "d"].map((id) => state.checkState(id).status);
  await vi.waitFor(() => expect(all()).toEqual(Array(4).fill("passing")));
  state.setCheckState("node", "critical", "gone");
  await vi.waitFor(() => expect(all()).toEqual(Array(4).fill("critical")));
  expect(state.checkState("a").output).toBe('Aliased check "node" failing: gone');
  state.setCheckState("node", "passing", "");
  await vi.waitFor(() => expect(all()).toEqual(Array(4).fill("passing")));
  alias.close();
});

test("an alias of another node that is defined anew follows the other one", async () => {
  const { state, registrar } = await setUp();
  const followed: string[] = [];
  const ended: string[] = [];
  const catalog = {
    async *watch(path: string, { signal }: { signal: AbortSignal }) {
      followed.push(path);
      signal.addEventListener("abort", () => ended.push(path));
      yield { body: [{ Name: "up", Status: "critical", Output: path, ServiceID: "", Type: "ttl" }] };
    },
  } as never;
  const alias = new AliasChecks({ state, catalog, nodeName: "n1", log: silentLog });
  for (const AliasNode of ["n2", "n2", "n3"]) {
    await registrar.check(parseCheckDefinition({ CheckID: "far", Name: "far", AliasNode }), "api");
    const output = `Aliased check "up" failing: /v1/health/node/${AliasNode}`;
    await vi.waitFor(() => expect(state.checkState("far")).toEqual({ status: "critical", output }));
  }
  expect(followed).toEqual(["/v1/health/node/n2", "/v1/health/node/n3"]);
  await vi.waitFor(() => expect(ended).toEqual(["/v1/health/node/n2"]));
  alias.close();
});

test("what a check came to outlives a restart, but not one of the machine, and not its removal", async () => {
  const { store, registrar, state, clock } = await setUp();
  const tcp = parseCheckDefinition({ CheckID: "c", Name: "c", TCP: "127.0.0.1:1", Interval: "10s" });
  const restart = (isNewBoot = false) =>
    new LocalState({ store, nodeName: "n1", clock, log: silentLog, isNewBoot }).checkState("c").status;
  await registrar.check(tcp, "api");
  state.setCheckState("c", "passing", "connected");
  expect([restart(), restart(true)]).toEqual(["passing", "critical"]);
  state.setCheckState("c", "critical", "refused");
  expect(restart()).toBe("critical");
  state.setCheckState("c", "warning", "");
  await state.removeCheck("c");
  await registrar.check(tcp, "api");
  expect(restart()).toBe("critical");
});

test("a status is told only when it is kept", async () => {
  const { store, registrar, state } = await setUp();
  await registrar.check(parseCheckDefinition({ CheckID: "c", Name: "c", TCP: "127.0.0.1:1", Interval: "10s" }), "api");
  const told: unknown[] = [];
  state.onChange((changes) => told.push([changes, store.get("check-states", "c")?.value]));
  state.setCheckState("c", "passing", "connected");
  const change = { kind: "check", id: "c", what: "status" };
  await expect.poll(() => told).toEqual([[[change], { status: "passing", output: "connected" }]]);
});

test("tags that others gave in the catalog count until the service is registered with other ones", async () => {
  const { registrar, state } = await setUp();
  const web = (...Tags: string[]) => service({ Name: "web", Tags, EnableTagOverride: true });
  await registrar.service(web("a"), "api");
  state.tagsTold("web", ["b"]);
  expect([state.nodeService("web")?.Tags, state.hasNewTags("web")]).toEqual([["b"], false]);
  await registrar.service({ ...web("a"), Port: 1 }, "api");
  expect([state.nodeService("web")?.Tags, state.hasNewTags("web")]).toEqual([["b"], false]);
  await registrar.service(web("c"), "api");
  expect([state.nodeService("web")?.Tags, state.hasNewTags("web")]).toEqual([["c"], true]);
  state.tagsTold("web", undefined);
  expect(state.hasNewTags("web")).toBe(false);
});
