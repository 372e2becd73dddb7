/** Consul's own command as a client: what it watches, locks, runs and records, against our agent. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { needsConsul } from "../support/consul.ts";
import { makePlace, type Place, startAgent } from "../support/mesh.ts";
import { run, start } from "../support/process.ts";

async function startPlace(): Promise<Place> {
  const place = await makePlace();
  place.write("node.json", { node_name: "cc1" });
  place.remove("socat.json");
  await startAgent(place, ["-dev"], "Heddle agent running!");
  return place;
}

const environment = (place: Place) => ({ CONSUL_HTTP_ADDR: `127.0.0.1:${place.ports.http}` });

test("watch: each type tells what changed, and only that", async (ctx) => {
  const consul = needsConsul(ctx);
  const place = await startPlace();
  const env = environment(place);
  const file = (name: string) => join(place.dir, name);
  const read = (name: string) => (existsSync(file(name)) ? readFileSync(file(name), "utf8") : "");
  const lines = (name: string) => read(name).trim().split("\n");
  const watch = (name: string, ...args: string[]) =>
    start(consul, ["watch", ...args, `cat >> ${file(name)}`], { cwd: place.dir, env });
  watch("key", "-type=key", "-key=w/a");
  watch("prefix", "-type=keyprefix", "-prefix=w/");
  watch("services", "-type=services");
  watch("nodes", "-type=nodes");
  watch("service", "-type=service", "-service=web", "-tag=v1", "-passingonly=true");
  watch("checks", "-type=checks", "-state=warning");
  watch("event", "-type=event", "-name=deploy");
  for (const name of ["key", "prefix", "services", "nodes", "service", "checks", "event"])
    await expect.poll(() => read(name), { message: name }).not.toBe("");
  expect(read("event")).toBe("[]\n");

  await place.ok("kv", "put", "w/a", "one");
  await place.ok("kv", "put", "elsewhere", "1");
  await place.ok("services", "register", "-name=web", "-tag=v1", "-port=1");
  for (const payload of ["1", "2"]) {
    await place.ok("event", "-name=deploy", payload);
    await expect.poll(() => read("event")).toContain(btoa(payload));
  }
  await expect.poll(() => read("key")).toContain('"Value":"b25l"');
  await expect.poll(() => read("prefix")).toContain('"Value":"b25l"');
  await expect.poll(() => read("services")).toContain('"web":["v1"]');
  await expect.poll(() => read("service")).toContain('"Service":"web"');
  expect(lines("key")).toHaveLength(2);
  // An event is told once: the second does not bring the first with it.
  expect(lines("event").map((line) => (JSON.parse(line) as unknown[]).length)).toEqual([0, 1, 1]);
});

test("lock: one at a time, as many as -n says, and lost when its session is destroyed", async (ctx) => {
  const consul = needsConsul(ctx);
  const place = await startPlace();
  const env = environment(place);
  const order = join(place.dir, "order");
  writeFileSync(order, "");
  const lock = (...args: string[]) => run(consul, ["lock", ...args], { cwd: place.dir, env });
  const both = ["a", "b"].map((name) => lock("jobs", `echo ${name}+ >> order; sleep 0.3; echo ${name}- >> order`));
  expect((await Promise.all(both)).map(({ status }) => status)).toEqual([0, 0]);
  expect(["a+\na-\nb+\nb-\n", "b+\nb-\na+\na-\n"]).toContain(readFileSync(order, "utf8"));
  expect(await lock("-child-exit-code", "jobs", "exit 3")).toMatchObject({ status: 2 });

  const free = "while [ ! -e free ]; do sleep 0.05; done";
  const held = ["p1", "p2"].map((name) =>
    start(consul, ["lock", "-n=2", "pool", `echo ${name} is in; ${free}`], { cwd: place.dir, env }),
  );
  await Promise.all(held.map((child) => child.printed(/p\d is in/)));
  expect(await lock("-n=2", "-timeout=300ms", "pool", "true")).toMatchObject({ status: 1 });
  writeFileSync(join(place.dir, "free"), "");
  expect(await Promise.all(held.map(({ exited }) => exited))).toEqual([0, 0]);

  const lost = start(consul, ["lock", "-verbose", "lost", "echo it is in; while :; do sleep 0.05; done"], {
    cwd: place.dir,
    env,
  });
  await lost.printed("it is in");
  const sessions = JSON.parse(await place.ok("session", "list", "-format=json")) as { ID: string; Name: string }[];
  for (const { ID, Name } of sessions) if (Name.includes("'lost'")) await place.ok("session", "destroy", ID);
  await lost.printed("Lock lost, killing child");
  expect(await lost.exited).toBe(0); // ours ends with 1: the work may be half done
});

test("exec: its session, keys and event are as it wants them", async (ctx) => {
  const consul = needsConsul(ctx);
  const place = await startPlace();
  const env = environment(place);
  const running = start(consul, ["exec", "-verbose", "-wait=1s", "-wait-repl=10ms", "echo", "hi"], { env });
  // What an agent with remote execution would find meanwhile; ours runs nothing that comes over the network.
  const keys = () => place.ok("kv", "get", "-keys", "-separator=", "_rexec/");
  await expect.poll(keys).toMatch(/^_rexec\/[0-9a-f-]{36}\/job$/m);
  const events = await place.ok("watch", "-type=event", "-name=_rexec");
  expect(JSON.parse(events)).toMatchObject([{ Name: "_rexec" }]);
  expect(await running.exited).toBe(0);
  expect(running.text).toContain("0 / 0 node(s) completed / acknowledged");
  expect(await place.ok("kv", "get", "-keys", "_rexec/")).toBe("");
  expect(await place.ok("session", "list", "-format=json")).toContain("[]");
});

test("debug: it records all but pprof", { timeout: 40_000 }, async (ctx) => {
  const consul = needsConsul(ctx);
  const place = await startPlace();
  const env = environment(place);
  const args = ["debug", "-duration=10s", "-interval=5s", "-output=recorded"];
  const { status, out, err } = await run(consul, args, { cwd: place.dir, env, timeoutMs: 30_000 });
  expect({ status, err }).toEqual({
    status: 0,
    err: "[WARN] Unable to capture pprof. Set enable_debug to true on target agent to enable profiling.\n",
  });
  expect(out).toContain("Saved debug archive: recorded.tar.gz");
  const list = await run("tar", ["tzf", join(place.dir, "recorded.tar.gz")]);
  for (const name of ["agent.json", "cluster.json", "host.json", "index.json"])
    expect(list.out).toContain(`recorded/${name}`);
  expect(list.out).toMatch(/recorded\/\d+\/metrics\.json/);
  expect(list.out).toMatch(/recorded\/\d+\/consul\.log/);
});

test("snapshot: what it saves it inspects and restores, and so does ours", async (ctx) => {
  const consul = needsConsul(ctx);
  const place = await startPlace();
  const env = environment(place);
  const theirs = async (...args: string[]) => {
    const result = await run(consul, ["snapshot", ...args], { cwd: place.dir, env });
    expect(result, args.join(" ")).toMatchObject({ status: 0, err: "" });
    return result.out;
  };
  await place.ok("kv", "put", "kept", "one");
  expect(await theirs("save", "theirs.snap")).toContain("Saved and verified snapshot to index");
  await place.ok("snapshot", "save", "ours.snap");
  for (const name of ["theirs.snap", "ours.snap"]) {
    expect(await theirs("inspect", name)).toMatch(/^Index +\d+$/m);
    await place.ok("snapshot", "inspect", name);
    for (const restore of [theirs, (...args: string[]) => place.ok("snapshot", ...args)]) {
      await place.ok("kv", "delete", "kept");
      await restore("restore", name);
      expect(await place.ok("kv", "get", "kept")).toBe("one\n");
    }
  }
});

test("monitor, members, info, rtt, maint, reload, leave", async (ctx) => {
  const consul = needsConsul(ctx);
  const place = await startPlace();
  const env = environment(place);
  const ok = async (...args: string[]) => {
    const result = await run(consul, args, { cwd: place.dir, env });
    expect(result, args.join(" ")).toMatchObject({ status: 0 });
    return result.out;
  };
  const monitor = start(consul, ["monitor", "-log-level=debug"], { env });
  let registered = 0;
  await expect
    .poll(async () => {
      await ok("services", "register", `-name=seen-in-the-log-${++registered}`); // an unchanged one is not told again
      return monitor.out;
    })
    .toContain("seen-in-the-log");
  await monitor.stop("SIGINT");
  expect(await ok("members", "-detailed")).toContain("cc1");
  expect(await ok("info")).toContain("agent:\n");
  expect(await ok("maint", "-enable", "-reason=r")).toContain("now enabled");
  expect(await ok("maint")).toContain("Reason: r");
  expect(await ok("operator", "raft", "list-peers")).toContain("leader");
  expect(await ok("reload")).toContain("Configuration reload triggered");
  expect(await ok("leave")).toContain("Graceful leave complete");
  await expect
    .poll(() =>
      fetch(`http://127.0.0.1:${place.ports.http}/v1/status/leader`).then(
        () => true,
        () => false,
      ),
    )
    .toBe(false);
});
