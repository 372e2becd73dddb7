/** Step 18 of the walk: what a rule would cut is told before, and what it has cut is told to who waits for it. */
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { createMeshClient } from "@heddle/tls";
import { expect, onTestFinished, test } from "vitest";
import { type Agent, makePlace, startAgent, startSocat } from "../support/mesh.ts";
import { type Program, run, start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

/** socat behind a proxy that registers itself, healthy at once, and two doors to it: web's and api's. */
async function startThree(...more: string[]) {
  const place = await makePlace();
  place.remove("socat.json");
  const mesh = await startAgent(place, ["-dev"], "Started HTTP server");
  startSocat(mesh.ports.echo);
  const { echo, sidecar, upstream, other } = mesh.ports;
  const local = ["-service-addr", `127.0.0.1:${echo}`, "-listen", `127.0.0.1:${sidecar}`, "-register"];
  const proxy = mesh.start("connect", "proxy", "-service", "socat", ...local, ...more);
  await proxy.printed("registered Consul service");
  for (const [name, port] of [
    ["web", upstream],
    ["api", other],
  ] as const)
    await mesh.start("connect", "proxy", "-service", name, "-upstream", `socat:${port}`).printed("Starting listener");
  return { mesh, proxy };
}

/** A connection that has echoed a line. */
async function open(port: number): Promise<Program> {
  for (;;) {
    const nc = start("nc", ["localhost", String(port)]);
    nc.write("hello\n");
    if (
      await Promise.race([
        nc.printed("hello\n").then(
          () => true,
          () => false,
        ),
        nc.exited.then(() => false),
      ])
    )
      return nc;
  }
}

test("a change is planned, made, and waited for: what it cuts, where, and who does not answer", {
  timeout: 90_000, // some twenty commands, each a process
}, async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const { mesh, proxy } = await startThree();
  const web = [await open(mesh.ports.upstream), await open(mesh.ports.upstream)];
  const api = await open(mesh.ports.other);

  // Before: the proxies tell of what they carry.
  const planned = () => mesh.ok("intention", "create", "-deny", "-plan", "web", "socat");
  await expect.poll(planned).toContain("Cut: 2 open connections, 1 pair of services");
  expect(await planned()).toMatch(
    /web -> socat +2 +\d+ +\S+ +\S+\/socat \(2\) +Matched intention: DENY default\/web => default\/socat \(ID: new, /,
  );
  const rules = {
    Kind: "service-intentions",
    Name: "socat",
    Sources: [
      { Name: "api", Action: "allow" },
      { Name: "*", Action: "deny" },
    ],
  };
  writeFileSync(join(mesh.dir, "socat-rules.json"), JSON.stringify(rules));
  const plan = JSON.parse(await mesh.ok("intention", "plan", "-format=json", "socat-rules.json")) as Record<
    string,
    unknown
  >;
  expect(plan).toMatchObject({ Connections: 2, CutPairs: 1, OpenedPairs: 0, Unchanged: 1, IdleRules: [] });
  expect(await mesh.ok("intention", "list")).toBe(""); // nothing was written

  // Made: one deny, two connections cut, and the third is left alone.
  const denied = await mesh.ok("intention", "create", "-deny", "-wait-cut", "web", "socat");
  expect(denied).toMatch(
    /^Created: web => socat \(deny\)\nHeld by 1 of 1 proxy; 2 connections cut\.\nPair +Cut +Where\nweb -> socat +2 /,
  );
  await Promise.all(web.map((nc) => nc.exited));
  api.write("still here\n");
  await api.printed("still here");

  // Who holds it.
  const explained = await mesh.ok("intention", "explain", "web", "socat");
  expect(explained).toMatch(/\d+ \(current\)/);
  const { Version, Holders } = await mesh.api<{ Version: number; Holders: { Version: number; Open: number }[] }>(
    "/v1/connect/intentions/explain?source=api&destination=socat",
  );
  expect(Holders).toMatchObject([{ Service: "socat", Version, IsCurrent: true, IsSilent: false }]);

  // A rule that is of no use is told to whoever asks about it.
  const { ID } = (await (
    await fetch(`http://127.0.0.1:${mesh.ports.http}/v1/connect/intentions`, {
      method: "POST",
      body: JSON.stringify({ SourceName: "api", DestinationName: "socat", SourceType: "consul", Action: "allow" }),
    })
  ).json()) as { ID: string };
  expect((await mesh.heddle("intention", "explain", "api", "socat")).err).toContain(
    `The rule ${ID} never changes an outcome: the default (allow) would decide the same.`,
  );
  await mesh.ok("intention", "delete", ID);

  // A refused pair is one that the way back would let through.
  const refused = start("nc", ["localhost", String(mesh.ports.upstream)]);
  refused.write("no\n");
  await refused.exited;
  const back = () => mesh.ok("intention", "delete", "-plan", "web", "socat");
  await expect.poll(back).toContain("Let through: 1 pair that is refused now.");

  // A proxy that does not answer is named, in bounded time.
  proxy.child.kill("SIGSTOP");
  const late = await mesh.heddle("intention", "delete", "-wait-cut", "-timeout=500ms", "web", "socat");
  proxy.child.kill("SIGCONT");
  expect(late).toMatchObject({ status: 2, out: "Intention deleted.\nHeld by 0 of 1 proxy; 0 connections cut.\n" });
  expect(late.err).toMatch(/socat has not said that it holds the change: it held version \d+ at /);

  // A proxy that ends is waited for by nobody.
  await proxy.stop();
  const alone = await mesh.ok("intention", "create", "-wait-cut", "web", "socat");
  expect(alone).toBe("Created: web => socat (allow)\nHeld by 0 of 0 proxies; 0 connections cut.\n");
});

test("every way to write rules over HTTP can be waited for", { timeout: 60_000 }, async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const { mesh } = await startThree();
  const api = await open(mesh.ports.other);
  const rules = { Kind: "service-intentions", Name: "socat" };
  const url = `http://127.0.0.1:${mesh.ports.http}`;
  const send = async (method: string, path: string, body?: object) => {
    const answer = await fetch(url + path, { method, ...(body && { body: JSON.stringify(body) }) });
    return { status: answer.status, body: (await answer.text()).replace(/\n$/, "") };
  };
  const written = async (method: string, path: string, body?: object) => {
    const answer = await send(method, path, body);
    expect(answer.status, answer.body).toBe(200);
    return JSON.parse(answer.body) as Record<string, unknown>;
  };
  const names = "source=api&destination=socat";
  const one = {
    Reached: 1,
    Holders: 1,
    Cut: 1,
    Missing: [],
    Unreported: [],
    Cuts: [{ Source: "api", Service: "socat", Count: 1 }],
  };
  expect(await written("PUT", `/v1/connect/intentions/exact?${names}&wait-cut`, { Action: "deny" })).toMatchObject(one);
  await api.exited;
  expect(await written("DELETE", `/v1/connect/intentions/exact?${names}&wait-cut=5s`)).toMatchObject({
    Reached: 1,
    Cut: 0,
  });
  await open(mesh.ports.other);
  expect(
    await written("PUT", "/v1/config?wait-cut", { ...rules, Sources: [{ Name: "*", Action: "deny" }] }),
  ).toMatchObject(one);
  expect(await written("DELETE", "/v1/config/service-intentions/socat?wait-cut")).toMatchObject({ Reached: 1, Cut: 0 });
  for (const wait of ["never", "2m", "0s"])
    expect(
      await send("PUT", `/v1/connect/intentions/exact?${names}&wait-cut=${wait}`, { Action: "deny" }),
    ).toMatchObject({
      status: 400,
      body: expect.stringContaining("want a duration of at most 60s") as string,
    });
  expect(await mesh.ok("intention", "list")).toBe("");
});

/** A connection to socat's proxy as web, without a tunnel: each is dealt to one of the proxy's threads by itself. */
async function openDirectly({ api, ports }: Agent): Promise<() => Promise<{ echoed: string; closed: Promise<void> }>> {
  const { CertPEM, PrivateKeyPEM } = await api<Record<string, string>>("/v1/agent/connect/ca/leaf/web");
  const { Roots } = await api<{ Roots: { RootCert: string }[] }>("/v1/agent/connect/ca/roots");
  const roots = Roots.map(({ RootCert }) => RootCert);
  const client = createMeshClient({ certPem: CertPEM ?? "", keyPem: PrivateKeyPEM ?? "", roots });
  return async () => {
    const socket = connectTls({ ...client.options(), host: "127.0.0.1", port: ports.sidecar });
    socket.on("error", () => {});
    onTestFinished(() => void socket.destroy());
    socket.write("hello\n");
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    const echoed = await Promise.race([once(socket, "data").then(String, () => ""), closed.then(() => "")]);
    return { echoed, closed };
  };
}

test("a proxy of several threads is one holder, waited for until all of them have cut", {
  timeout: 60_000,
}, async (ctx) => {
  needs(ctx, "socat", "nc", "curl", "ss");
  const { mesh } = await startThree("-workers=2");
  const listeners = async () => (await run("ss", ["-Hltn", `sport = :${mesh.ports.sidecar}`])).out.trim().split("\n");
  await expect.poll(listeners).toHaveLength(2);
  const open = await openDirectly(mesh);
  // Five at a time: socat lets no more wait to be accepted, and a sixth is tried again by the kernel after a second.
  const connections: Awaited<ReturnType<typeof open>>[] = [];
  while (connections.length < 40) connections.push(...(await Promise.all(Array.from({ length: 5 }, open))));
  expect(connections.map(({ echoed }) => echoed)).toEqual(connections.map(() => "hello\n"));
  const plan = () => mesh.ok("intention", "create", "-deny", "-plan", "web", "socat");
  await expect.poll(plan).toContain("Cut: 40 open connections, 1 pair of services");
  expect(await mesh.ok("intention", "create", "-deny", "-wait-cut", "web", "socat")).toMatch(
    /^Created: web => socat \(deny\)\nHeld by 1 of 1 proxy; 40 connections cut\.\nPair +Cut +Where\nweb -> socat +40 /,
  );
  await Promise.all(connections.map(({ closed }) => closed));
  expect((await open()).echoed).toBe("");
});

test("what a proxy tells is checked and bounded", async (ctx) => {
  needs(ctx, "curl");
  const place = await makePlace();
  place.remove("socat.json");
  const { api, ports } = await startAgent(place, ["-dev"], "Started HTTP server");
  const url = `http://127.0.0.1:${ports.http}`;
  const post = async (path: string, body: unknown, method = "POST") => {
    const answer = await fetch(url + path, { method, body: JSON.stringify(body) });
    return [answer.status, await answer.text()];
  };
  const report = { ID: "1", Service: "db", Version: 1 };
  const pair = { Direction: "inbound", Source: "web", Destination: "db", Open: 1 };
  const tell = (body: unknown) => post("/v1/agent/connect/proxies", body);
  expect(await tell({ ...report, Pairs: [pair] })).toEqual([200, "true"]);
  expect(await api("/v1/agent/connect/proxies")).toMatchObject([{ ID: "1", Service: "db", Pairs: [{ Open: 1 }] }]);
  for (const [body, why] of [
    [{ ...report, ID: "" }, "ID is empty"],
    [{ ...report, Service: "x".repeat(257) }, "Service is 257 characters long"],
    [{ ...report, Version: -1 }, "Version is -1"],
    [{ ...report, Pairs: Array.from({ length: 257 }, () => pair) }, "Pairs has 257 elements, at most 256"],
    [{ ...report, Pairs: [{ ...pair, Direction: "up" }] }, 'Pairs[0].Direction is "up"'],
    [{ ...report, Surprise: 1 }, "Surprise"],
  ] as const) {
    const [status, text] = await tell(body);
    expect([status, text]).toEqual([400, expect.stringContaining(why)]);
  }
  for (const [body, why] of [
    [{}, "nothing would change"],
    [{ Set: [1] }, "Set[0] is no object"],
    [{ Set: [{ Kind: "service-defaults", Name: "db" }] }, "Set[0]: kind 'service-defaults' says nothing"],
    [{ Set: [{ SourceName: "a", DestinationName: "b", Action: "maybe" }] }, "Set[0]: "],
    [{ Delete: [{ SourceName: "a", DestinationName: "b" }] }, "Delete[0]: no such intention"],
  ] as const) {
    const [status, text] = await post("/v1/connect/intentions/plan", body);
    expect([status, text]).toEqual([400, expect.stringContaining(why)]);
  }
  expect(await tell({ ...report, Gone: true })).toEqual([200, "true"]);
  expect(await api("/v1/agent/connect/proxies")).toEqual([]);
});
