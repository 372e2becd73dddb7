/** `lock`, `watch` and `monitor` as processes, against Heddle's agent. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Agent, CONSUL, execute, heddle, startHeddle, until } from "./harness.ts";

const MAIN = join(import.meta.dirname, "../src/main.ts");
const dir = mkdtempSync(join(tmpdir(), "heddle-cli-"));
let agent: Agent;
const started = new Set<ChildProcess>();

beforeAll(async () => {
  agent = await startHeddle();
});
afterAll(async () => {
  for (const child of started) child.kill("SIGKILL");
  await agent[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true });
});

function start(...args: string[]): { child: ChildProcess; ended: Promise<number | null> } {
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { ...process.env, CONSUL_HTTP_ADDR: agent.url },
    stdio: "ignore",
  });
  started.add(child);
  return { child, ended: new Promise((resolve) => child.once("close", resolve)) };
}
const run = (...args: string[]) => heddle(args, { env: { CONSUL_HTTP_ADDR: agent.url } });
const read = (file: string) => {
  try {
    return readFileSync(join(dir, file), "utf8");
  } catch {
    return "";
  }
};

describe("watch", () => {
  it("runs its program at once and on each change, and on nothing else", async () => {
    const { child, ended } = start(
      "watch",
      "-type=key",
      "-key=watched",
      `(cat; echo "index=$CONSUL_INDEX") >> ${dir}/watched`,
    );
    await until(async () => read("watched").startsWith("null\n"));
    await run("kv", "put", "other", "1");
    await run("kv", "put", "watched", "one");
    await until(async () => read("watched").includes('"Value":"b25l"'));
    await run("kv", "put", "watched", "one"); // the same value: nothing has changed
    await run("kv", "put", "watched", "two");
    await until(async () => read("watched").includes('"Value":"dHdv"'));
    child.kill("SIGINT");
    expect(await ended).toBe(0);
    expect(read("watched").match(/^index=[1-9]\d*$/gm)).toHaveLength(3);
  });

  it("tells again what failed, and later what has changed since, where it keeps a cursor", async () => {
    const watch = ["watch", "-type=key", "-key=kept", `-cursor=${dir}/cursor`, "-deliver=change"];
    const noting = `(cat; echo "id=$HEDDLE_CHANGE_ID") >> ${dir}/kept`;
    await run("kv", "put", "kept", "one");
    expect(await run(...watch, `${noting}; exit 3`)).toMatchObject({ status: 1 });
    const takes = async (count: number) => {
      const { child, ended } = start(...watch, noting);
      await until(async () => read("cursor").includes(`"count":${count}`));
      child.kill("SIGINT");
      expect(await ended).toBe(0);
    };
    await takes(1);
    await run("kv", "put", "kept", "two");
    await takes(2);
    const [failed, again, later] = read("kept").match(/^id=[0-9a-f]{32}$/gm) ?? [];
    expect(again).toBe(failed);
    expect(later).not.toBe(again);
    expect(JSON.parse(read("kept").trim().split("\n").at(-2) ?? "")).toMatchObject({
      ...{ Before: { Value: "b25l" }, After: { Value: "dHdv" }, Added: [], Removed: [] },
    });
    writeFileSync(join(dir, "other"), "not a cursor");
    const refused = await run("watch", "-type=nodes", `-cursor=${dir}/other`, "cat");
    expect(refused).toMatchObject({ status: 1, err: `'${dir}/other' is no cursor of a watch: give another file\n` });
    expect(read("other")).toBe("not a cursor");
  });
});

describe("lock", () => {
  it("lets one run after the other", async () => {
    const both = ["a", "b"].map((name) =>
      start("lock", "jobs", `echo ${name}+ >> ${dir}/order; sleep 0.3; echo ${name}- >> ${dir}/order`),
    );
    expect(await Promise.all(both.map(({ ended }) => ended))).toEqual([0, 0]);
    expect(["a+\na-\nb+\nb-\n", "b+\nb-\na+\na-\n"]).toContain(read("order"));
    expect(await run("kv", "get", "-keys", "jobs")).toMatchObject({ status: 0, out: "" });
  });

  it("lets as many run together as -n says", async () => {
    const hold = (name: string) =>
      start(
        "lock",
        "-n=2",
        "pool",
        `touch ${dir}/${name}; echo ${name} >> ${dir}/pool; while [ -e ${dir}/${name} ]; do sleep 0.05; done`,
      );
    const children = ["p1", "p2", "p3"].map(hold);
    await until(async () => read("pool").split("\n").length === 3);
    const second = await run("lock", "-n=2", "-timeout=300ms", "pool", "true");
    expect(second).toMatchObject({ status: 1, err: "Shutdown triggered or timeout during lock acquisition\n" });
    for (const name of ["p1", "p2", "p3"]) rmSync(join(dir, name), { force: true });
    await until(async () => {
      for (const name of ["p1", "p2", "p3"]) rmSync(join(dir, name), { force: true });
      return read("pool").split("\n").length === 4;
    });
    for (const name of ["p1", "p2", "p3"]) rmSync(join(dir, name), { force: true });
    expect(await Promise.all(children.map(({ ended }) => ended))).toEqual([0, 0, 0]);
  });

  it("ends its program when the lock is lost", async () => {
    const { ended } = start(
      "lock",
      "lost",
      `trap 'echo stopped >> ${dir}/lost; exit' TERM; echo started >> ${dir}/lost; while :; do sleep 0.05; done`,
    );
    await until(async () => read("lost") === "started\n");
    const { out } = await run("session", "list", "-format=json");
    const session = (JSON.parse(out) as { ID: string; Name: string }[]).find(({ Name }) => Name.endsWith("at 'lost'"));
    expect(await run("session", "destroy", session?.ID ?? "")).toMatchObject({ status: 0 });
    expect(await ended).toBe(1);
    expect(read("lost")).toBe("started\nstopped\n");
  });

  it("gives the lock back when interrupted", async () => {
    const { child, ended } = start(
      "lock",
      "interrupted",
      `echo started >> ${dir}/interrupted; while :; do sleep 0.05; done`,
    );
    await until(async () => read("interrupted") === "started\n");
    child.kill("SIGTERM");
    await ended;
    expect(await run("lock", "-timeout=5s", "interrupted", "true")).toMatchObject({ status: 0 });
  });
});

describe("beside Consul's own lock", () => {
  it.each([[[]], [["-n=2"]]])("each sees the other's (%j)", async (flags) => {
    if (!existsSync(CONSUL)) {
      process.stdout.write(`not compared with Consul: there is no ${CONSUL}\n`);
      return;
    }
    const env = { CONSUL_HTTP_ADDR: agent.url };
    const consul = (...args: string[]) => execute(CONSUL, ["lock", ...flags, ...args], { env });
    const key = `shared${flags.length}`;
    const slots = flags.length + 1;

    const ours = Array.from({ length: slots }, (_, i) =>
      start(
        "lock",
        ...flags,
        key,
        `echo held >> ${dir}/${key}-ours${i}; while [ ! -e ${dir}/${key}-free ]; do sleep 0.05; done`,
      ),
    );
    await until(async () => ours.every((_, i) => read(`${key}-ours${i}`) !== ""));
    expect(await consul("-timeout=1s", key, "true")).toMatchObject({ status: 1 });
    writeFileSync(join(dir, `${key}-free`), "");
    expect(await Promise.all(ours.map(({ ended }) => ended))).toEqual(ours.map(() => 0));

    rmSync(join(dir, `${key}-free`));
    const theirs = ours.map((_, i) =>
      consul(key, `echo held >> ${dir}/${key}-theirs${i}; while [ ! -e ${dir}/${key}-free ]; do sleep 0.05; done`),
    );
    await until(async () => theirs.every((_, i) => read(`${key}-theirs${i}`) !== ""));
    expect(await run("lock", ...flags, "-timeout=500ms", key, "true")).toMatchObject({ status: 1 });
    writeFileSync(join(dir, `${key}-free`), "");
    expect((await Promise.all(theirs)).map(({ status }) => status)).toEqual(ours.map(() => 0));
  });
});

describe("monitor", () => {
  it("follows the agent's log at a level that the agent itself does not log", async () => {
    const controller = new AbortController();
    const result = heddle(["monitor", "-log-level=trace"], {
      env: { CONSUL_HTTP_ADDR: agent.url },
      interrupted: controller.signal,
      onOut: (text) => text.includes("monitored-service") && controller.abort(),
    });
    await until(async () => {
      await run("services", "register", "-name=monitored-service");
      await run("services", "deregister", "-id=monitored-service");
      return controller.signal.aborted;
    });
    expect(await result).toMatchObject({ status: 0, err: "" });
  });
});

describe("session", () => {
  it("is made, shown, renewed and ended", async () => {
    const id = (await run("session", "create", "-name=mine", "-ttl=30s")).out.trim();
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    expect((await run("session", "list")).out).toContain(`${id}  mine`);
    expect(JSON.parse((await run("session", "info", id)).out)).toMatchObject({ ID: id, TTL: "30s" });
    expect(await run("session", "renew", id)).toMatchObject({ status: 0 });
    expect(await run("session", "destroy", id)).toMatchObject({ status: 0 });
    expect(await run("session", "info", id)).toMatchObject({ status: 1 });
  });
});

describe("-format=json", () => {
  const json = async (...args: string[]) => JSON.parse((await run(...args, "-format=json")).out) as unknown;

  it("prints what was made, and what is in maintenance mode", async () => {
    expect(await json("event", "-name=deploy")).toMatchObject({ Name: "deploy", Version: 1 });
    const made = (await json("session", "create", "-ttl=30s")) as { ID: string };
    expect(await json("session", "info", made.ID)).toMatchObject({ ID: made.ID });
    await run("session", "destroy", made.ID);
    expect(await json("maint")).toEqual([]);
    await run("maint", "-enable", "-reason=r");
    expect(await json("maint")).toMatchObject([{ CheckID: "_node_maintenance", Notes: "r" }]);
    await run("maint", "-disable");
  });
});
