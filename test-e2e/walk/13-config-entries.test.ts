/** Step 13 of the walk: config entries from files, a deny among them, and what they say to the proxies of a node. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { comesTo, definition, makePlace, netcat, startMesh } from "../support/mesh.ts";
import { HEDDLE, start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

test("a deny written as config entry cuts what is open and refuses what comes, until it is deleted", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const mesh = await startMesh();
  const { ports, ok, dir } = mesh;
  const open = start("nc", ["localhost", String(ports.upstream)]);
  open.write("before\n");
  await open.printed("before\n");
  const file = join(dir, "deny.hcl");
  writeFileSync(
    file,
    'Kind = "service-intentions"\nName = "socat"\nSources = [\n  { Name = "web", Action = "deny" },\n  { Name = "*", Action = "allow" },\n]\n',
  );
  expect(await ok("config", "write", file)).toBe("Config entry written: service-intentions/socat\n");
  await open.exited; // nc ends by itself when it is reset
  expect(await netcat(ports.upstream, "not allowed")).toBe("");
  expect(await mesh.heddle("intention", "check", "web", "socat")).toMatchObject({ status: 1, out: "Denied\n" });
  expect(await ok("intention", "check", "other", "socat")).toBe("Allowed\n");

  // Rules on requests cannot be held against bytes: they deny.
  writeFileSync(
    file,
    JSON.stringify({
      Kind: "service-intentions",
      Name: "socat",
      Sources: [{ Name: "web", Permissions: [{ Action: "allow", HTTP: { PathPrefix: "/" } }] }],
    }),
  );
  await ok("config", "write", file);
  expect(await mesh.heddle("intention", "check", "web", "socat")).toMatchObject({ status: 1, out: "Denied\n" });
  await comesTo(ports.upstream, "refused");

  await ok("config", "delete", "-kind", "service-intentions", "-name", "socat");
  await comesTo(ports.upstream, "echo");

  // This agent fills in no central defaults, and that one all the same.
  const socat = async () =>
    (await (await fetch(`http://127.0.0.1:${ports.http}/v1/agent/service/socat-sidecar-proxy`)).json()) as {
      Proxy: { Config?: object };
    };
  const own = (await socat()).Proxy.Config ?? {};
  writeFileSync(file, 'Kind = "service-defaults"\nName = "socat"\nProtocol = "http"\nRequirePQ = true\n');
  await ok("config", "write", file);
  await expect.poll(async () => (await socat()).Proxy.Config).toEqual({ ...own, require_pq: true });
  await comesTo(ports.upstream, "echo");
});

test("proxies show the central defaults at once after each change, and the catalog has them too", async () => {
  const place = await makePlace();
  place.write("web.json", definition("web", 9090));
  place.write(
    "central.hcl",
    'enable_central_service_config = true\nconfig_entries {\n  bootstrap = [\n    { kind = "proxy-defaults", name = "global", config { a = 1, protocol = "http" } },\n  ]\n}\n',
  );
  const agent = place.start("agent", "-dev", "-config-dir", place.configDir);
  await agent.printed("Synced service");
  const get = async <T>(path: string): Promise<T> =>
    (await (await fetch(`http://127.0.0.1:${place.ports.http}${path}`)).json()) as T;
  type Proxy = { Proxy: { Config?: Record<string, unknown>; MeshGateway: object }; ContentHash: string };
  const sidecar = (query = "") => get<Proxy>(`/v1/agent/service/web-sidecar-proxy${query}`);
  await expect.poll(async () => (await sidecar()).Proxy.Config).toEqual({ a: 1, protocol: "http" });
  const { ContentHash } = await sidecar();
  const waiting = sidecar(`?hash=${ContentHash}&wait=20s`);
  const file = join(place.dir, "web.hcl");
  writeFileSync(file, 'Kind = "service-defaults"\nName = "web"\nProtocol = "grpc"\nMeshGateway { Mode = "local" }\n');
  await place.ok("config", "write", file);
  expect((await waiting).Proxy).toMatchObject({ Config: { a: 1, protocol: "grpc" }, MeshGateway: { Mode: "local" } });
  await expect
    .poll(() => get<{ ServiceProxy: Proxy["Proxy"] }[]>("/v1/catalog/connect/web"))
    .toMatchObject([{ ServiceProxy: { Config: { a: 1, protocol: "grpc" } } }]);
});

test("a node without servers writes entries and follows them; a restart keeps what was written over what files begin with", async () => {
  const server = await makePlace();
  const node = await makePlace();
  for (const place of [server, node]) place.remove("socat.json");
  server.write("server.json", {
    ...{ server: true, bootstrap_expect: 1, data_dir: "../data", node_name: "n1", bind_addr: "127.0.0.1" },
    config_entries: { bootstrap: [{ kind: "service-defaults", name: "web", protocol: "http" }] },
  });
  node.write("web.json", definition("web", 9090));
  node.write("node.json", {
    ...{ data_dir: "../data", node_name: "n2", bind_addr: "127.0.0.1", enable_central_service_config: true },
  });
  const first = start(HEDDLE, ["agent", "-config-dir=."], { cwd: server.configDir });
  await first.printed("Synced node info: node=n1");
  const retryJoin = `-retry-join=127.0.0.1:${server.ports.server}`;
  const second = start(HEDDLE, ["agent", "-config-dir=.", retryJoin], { cwd: node.configDir });
  await second.printed("Synced service: service=web-sidecar-proxy");
  const protocolAt = async ({ ports }: { ports: { http: number } }) => {
    const found = await fetch(`http://127.0.0.1:${ports.http}/v1/catalog/connect/web`);
    const [proxy] = (await found.json()) as { ServiceProxy: { Config?: { protocol?: string } } }[];
    return proxy?.ServiceProxy.Config?.protocol;
  };
  await expect.poll(() => protocolAt(server)).toBe("http");
  const file = join(node.dir, "web.hcl");
  writeFileSync(file, 'Kind = "service-defaults"\nName = "web"\nProtocol = "grpc"\n');
  await node.ok("config", "write", file);
  await expect.poll(() => protocolAt(server)).toBe("grpc");

  expect(await first.stop()).toBe(0);
  const again = start(HEDDLE, ["agent", "-config-dir=."], { cwd: server.configDir });
  await again.printed("Synced node info: node=n1");
  expect(JSON.parse(await server.ok("config", "read", "-kind", "service-defaults", "-name", "web"))).toMatchObject({
    Protocol: "grpc",
  });
  await node.ok("config", "delete", "-kind", "service-defaults", "-name", "web");
  await expect.poll(() => protocolAt(server), { timeout: 20_000 }).toBeUndefined();
  expect(await second.stop()).toBe(0);
  expect(await again.stop()).toBe(0);
}, 60_000);
