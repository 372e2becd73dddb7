/** Step 10 of the walk: the commands for people, with their exit statuses. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { definition, makePlace, startAgent } from "../support/mesh.ts";
import { HEDDLE, run } from "../support/process.ts";
import { needs } from "../support/tools.ts";

test("kv put, get, delete, export and import", async (ctx) => {
  needs(ctx, "curl");
  const { ok, heddle, dir, env } = await startAgent(await makePlace());
  expect(await ok("kv", "put", "config/a", "one")).toBe("Success! Data written to: config/a\n");
  expect(await ok("kv", "put", "-flags=42", "config/b", "two")).toBe("Success! Data written to: config/b\n");
  expect(await ok("kv", "get", "config/a")).toBe("one\n");
  expect(await ok("kv", "get", "--recurse", "config/")).toBe("config/a:one\nconfig/b:two\n");
  expect(await ok("kv", "get", "-keys", "config/")).toBe("config/a\nconfig/b\n");
  expect(await ok("kv", "get", "-detailed", "config/b")).toMatch(
    /^CreateIndex +\d+\nFlags +42\nKey +config\/b\nLockIndex +0\nModifyIndex +\d+\nSession +-\nValue +two\n$/,
  );
  const piped = await run(HEDDLE, ["kv", "put", "config/c", "-"], { env, stdin: "from standard input" });
  expect(piped.status).toBe(0);
  writeFileSync(join(dir, "value.txt"), "from a file");
  await ok("kv", "put", "config/d", "@value.txt");
  expect(await ok("kv", "get", "config/d")).toBe("from a file\n");

  // What export writes, import reads, to the byte.
  const exported = await ok("kv", "export", "config/");
  expect(JSON.parse(exported)).toEqual([
    { key: "config/a", flags: 0, value: "b25l" },
    { key: "config/b", flags: 42, value: "dHdv" },
    { key: "config/c", flags: 0, value: Buffer.from("from standard input").toString("base64") },
    { key: "config/d", flags: 0, value: Buffer.from("from a file").toString("base64") },
  ]);
  expect(await ok("kv", "delete", "config/a")).toBe("Success! Deleted key: config/a\n");
  expect(await heddle("kv", "get", "config/a")).toEqual({
    status: 1,
    out: "",
    err: "Error! No key exists at: config/a\n",
  });
  expect(await ok("kv", "delete", "-recurse", "config/")).toBe("Success! Deleted keys with prefix: config/\n");
  expect(JSON.parse(await ok("kv", "export"))).toEqual([]);
  writeFileSync(join(dir, "export.json"), exported);
  expect(await ok("kv", "import", "@export.json")).toBe(
    "Imported: config/a\nImported: config/b\nImported: config/c\nImported: config/d\n",
  );
  expect(await ok("kv", "export", "config/")).toBe(exported);
});

test("catalog services, nodes and datacenters, members, info", async (ctx) => {
  needs(ctx, "curl");
  const { ok, api, ports } = await startAgent(await makePlace());
  const { Config } = await api<{ Config: { NodeName: string; NodeID: string; Version: string } }>("/v1/agent/self");
  expect(await ok("catalog", "services")).toBe("consul\nsocat\nsocat-sidecar-proxy\n");
  const table = (text: string) =>
    text
      .trimEnd()
      .split("\n")
      .map((line) => line.split(/ {2,}/));
  expect(table(await ok("catalog", "nodes"))).toEqual([
    ["Node", "ID", "Address", "DC"],
    [Config.NodeName, Config.NodeID.slice(0, 8), "127.0.0.1", "dc1"],
  ]);
  expect(table(await ok("catalog", "nodes", "-service=socat"))).toHaveLength(2);
  expect(await ok("catalog", "datacenters")).toBe("dc1\n");
  expect(table(await ok("members"))).toEqual([
    ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"],
    [Config.NodeName, "127.0.0.1:8301", "alive", "server", Config.Version, "2", "dc1", "<all>"],
  ]);
  const info = await ok("info");
  for (const part of [
    "agent:\n",
    "\tservices = 2\n",
    "\tserver = true\n",
    `\tleader_addr = 127.0.0.1:${ports.server}\n`,
  ])
    expect(info).toContain(part);
});

test("services register and deregister, from flags and from files", async (ctx) => {
  needs(ctx, "curl");
  const { ok, heddle, dir, api } = await startAgent(await makePlace());
  expect(await ok("services", "register", "-name=plain", "--port=7000", "-tag=a")).toBe("Registered service: plain\n");
  writeFileSync(join(dir, "meshed.json"), JSON.stringify(definition("meshed", 7001)));
  writeFileSync(join(dir, "two.hcl"), 'services { name = "x1" port = 1 }\nservices { name = "x2" port = 2 }\n');
  expect(await ok("services", "register", "meshed.json", "two.hcl")).toBe(
    "Registered service: meshed\nRegistered service: x1\nRegistered service: x2\n",
  );
  await expect
    .poll(async () => (await ok("catalog", "services")).split("\n"))
    .toEqual(expect.arrayContaining(["meshed", "meshed-sidecar-proxy", "plain", "x1", "x2"]));
  expect(await api<object>("/v1/agent/service/plain")).toMatchObject({ Port: 7000, Tags: ["a"] });
  expect(await ok("services", "deregister", "-id=plain")).toBe("Deregistered service: plain\n");
  expect(await ok("services", "deregister", "meshed.json")).toBe("Deregistered service: meshed\n");
  await expect
    .poll(async () => Object.keys(await api<object>("/v1/agent/services")).toSorted())
    .toEqual(["socat", "socat-sidecar-proxy", "x1", "x2"]);
  expect((await heddle("services", "register", "missing.json")).status).toBe(1);
  writeFileSync(join(dir, "wrong.json"), '{"service":{"name":"w","prot":1}}');
  expect(await heddle("services", "register", "wrong.json")).toMatchObject({
    status: 1,
    err: expect.stringContaining("prot"),
  });
});

test("monitor shows a line that comes while it runs, and ends with 0 on Ctrl-C", async (ctx) => {
  needs(ctx, "curl");
  const place = await startAgent(await makePlace());
  const monitor = place.start("monitor", "-log-level=info");
  const json = place.start("monitor", "--log-level", "debug", "-log-json");
  // The stream has begun when its first line is there: a registration makes one.
  const seen = async (n: number) => {
    await place.ok("services", "register", `-name=seen-${n}`);
    return [monitor, json].every(({ out }) => /seen-\d/.test(out));
  };
  let n = 0;
  await expect.poll(() => seen(n++)).toBe(true);
  await place.ok("services", "register", "-name=last");
  await monitor.printed(/\[INFO\] +agent: Synced service: service=last\n/);
  const [line] = await json.printed(/^\{.*service":"last".*$/m);
  expect(JSON.parse(line)).toMatchObject({ service: "last" });
  expect(monitor.out).not.toContain("[DEBUG]");
  expect(await monitor.stop("SIGINT")).toBe(0);
  // The agent ends while somebody watches.
  await place.agent.stop();
  expect(typeof (await json.exited)).toBe("number");
});

test("help on every level, -flag and --flag, exit statuses as Consul's", async () => {
  const { heddle } = await makePlace();
  const version = await heddle("version");
  expect(version).toMatchObject({ status: 0, out: expect.stringMatching(/^Heddle v\d+\.\d+\.\d+\n/) });
  for (const flag of ["-v", "-version", "--version"]) expect(await heddle(flag)).toEqual(version);
  for (const path of [["kv"], ["kv", "get"], ["connect", "proxy"], ["agent"], ["intention", "create"], ["services"]])
    for (const flag of ["-h", "-help", "--help"]) {
      const { status, out, err } = await heddle(...path, flag);
      expect([status, err], `${path.join(" ")} ${flag}`).toEqual([0, ""]);
      expect(out).toMatch(new RegExp(`^Usage: heddle ${path.join(" ")} `));
    }
  // No command, or one that is not there: 127; a wrong flag or too few arguments: 1.
  expect((await heddle()).status).toBe(127);
  expect(await heddle("nosuch")).toMatchObject({ status: 127, err: expect.stringContaining("Usage: heddle ") });
  expect(await heddle("kv", "get", "-nosuch", "a")).toMatchObject({
    status: 1,
    err: expect.stringContaining("-nosuch"),
  });
  expect((await heddle("kv", "put")).status).toBe(1);
});

test("an agent that is not there is an error that names its address", async () => {
  const { heddle, ports } = await makePlace();
  for (const command of [["members"], ["kv", "get", "a"], ["catalog", "services"], ["reload"]]) {
    const { status, err } = await heddle(...command);
    expect(status).toBe(1);
    expect(err).toContain(`127.0.0.1:${ports.http}`);
  }
  const flagged = await heddle("members", `-http-addr=http://127.0.0.1:${ports.other}`);
  expect(flagged.err).toContain(`127.0.0.1:${ports.other}`);
});

test("HEDDLE_HTTP_ADDR goes ahead of CONSUL_HTTP_ADDR, and a flag ahead of both", async (ctx) => {
  needs(ctx, "curl");
  const { ports } = await startAgent(await makePlace());
  const here = `127.0.0.1:${ports.http}`;
  const nowhere = `127.0.0.1:${ports.other}`;
  const members = (env: Record<string, string>, ...flags: string[]) => run(HEDDLE, ["members", ...flags], { env });
  expect((await members({ CONSUL_HTTP_ADDR: here })).status).toBe(0);
  expect((await members({ CONSUL_HTTP_ADDR: nowhere, HEDDLE_HTTP_ADDR: here })).status).toBe(0);
  expect((await members({ HEDDLE_HTTP_ADDR: nowhere }, "-http-addr", here)).status).toBe(0);
  expect((await members({ CONSUL_HTTP_ADDR: here, HEDDLE_HTTP_ADDR: nowhere })).status).toBe(1);
});
