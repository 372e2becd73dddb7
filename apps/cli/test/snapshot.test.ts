/** Snapshots by Heddle's command and by Consul's own, each with the other's agent where that is possible. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { CONSUL, execute, heddle, type RunOptions, startConsul, startHeddle } from "./harness.ts";

const dir = mkdtempSync(join(tmpdir(), "heddle-snapshots-"));
afterAll(() => rmSync(dir, { recursive: true }));
const consul = (args: string[], options: RunOptions) => execute(CONSUL, args, options);

describe("heddle snapshot", () => {
  it("saves, inspects and restores, and leaves a file for its owner alone", async () => {
    await using agent = await startHeddle();
    const env = { CONSUL_HTTP_ADDR: agent.url };
    const run = (...args: string[]) => heddle(args, { env });
    const file = join(dir, "backup.snap");
    await run("kv", "put", "a", "before");
    expect(await run("snapshot", "save", file)).toMatchObject({
      status: 0,
      out: expect.stringMatching(/^Saved and verified snapshot to index \d+\n$/) as string,
    });
    expect((statSync(file).mode & 0o777).toString(8)).toBe("600");
    expect(readdirSync(dir)).toEqual(["backup.snap"]);
    expect((await run("snapshot", "inspect", file)).out).toMatch(
      /^ID {11}\S+\nSize {9}\d+\nIndex {8}\d+\nTerm {9}1\nVersion {6}1001\n\n$/,
    );
    expect(JSON.parse((await run("snapshot", "inspect", "-format=json", file)).out)).toMatchObject({ Version: 1001 });
    await run("kv", "put", "a", "after");
    expect(await run("snapshot", "restore", file)).toMatchObject({ status: 0, out: "Restored snapshot\n" });
    expect((await run("kv", "get", "a")).out).toBe("before\n");

    const cut = join(dir, "cut.snap");
    writeFileSync(cut, readFileSync(file).subarray(0, 300));
    await run("kv", "put", "a", "kept");
    for (const what of ["inspect", "restore"]) expect((await run("snapshot", what, cut)).status).toBe(1);
    expect((await run("kv", "get", "a")).out).toBe("kept\n");
  });
});

describe("after a restore", () => {
  it("an agent brings back what is registered with it and was not in the snapshot", async () => {
    await using agent = await startHeddle();
    const env = { CONSUL_HTTP_ADDR: agent.url };
    const file = join(dir, "early.snap");
    await heddle(["snapshot", "save", file], { env });
    const body = JSON.stringify({ Name: "late", Port: 7 });
    await fetch(`${agent.url}/v1/agent/service/register`, { method: "PUT", body });
    const late = async () => ((await (await fetch(`${agent.url}/v1/catalog/service/late`)).json()) as unknown[]).length;
    await expect.poll(late).toBe(1);
    const index = Number((await fetch(`${agent.url}/v1/catalog/service/late`)).headers.get("x-consul-index"));
    expect((await heddle(["snapshot", "restore", file], { env })).status).toBe(0);
    const again = `${agent.url}/v1/catalog/service/late?index=${index}&wait=5s`;
    expect(Number((await fetch(again)).headers.get("x-consul-index"))).toBeGreaterThan(index); // it was gone
    await expect.poll(late).toBe(1);
  });
});

describe.skipIf(!existsSync(CONSUL))("beside Consul (needs consul)", () => {
  it("Consul's own command saves, verifies and restores with a Heddle agent", async () => {
    await using agent = await startHeddle();
    const env = { CONSUL_HTTP_ADDR: agent.url };
    const file = join(dir, "by-consul.snap");
    await heddle(["kv", "put", "a", "before"], { env });
    expect((await consul(["snapshot", "save", file], { env })).out).toMatch(/^Saved and verified snapshot/);
    const inspected = await consul(["snapshot", "inspect", file], { env });
    expect(inspected).toEqual(await heddle(["snapshot", "inspect", file], { env }));
    await heddle(["kv", "put", "a", "after"], { env });
    expect((await consul(["snapshot", "restore", file], { env })).out).toBe("Restored snapshot\n");
    expect((await heddle(["kv", "get", "a"], { env })).out).toBe("before\n");
  });

  it("saves and restores with a Consul agent; neither takes the other's state, and both live on", async () => {
    const theirs = await startConsul();
    expect(theirs).toBeDefined();
    if (!theirs) return;
    await using agent = await startHeddle();
    try {
      const env = { CONSUL_HTTP_ADDR: theirs.url };
      const ofConsul = join(dir, "of-consul.snap");
      const ofHeddle = join(dir, "of-heddle.snap");
      await heddle(["kv", "put", "a", "before"], { env });
      expect((await heddle(["snapshot", "save", ofConsul], { env })).status).toBe(0);
      await heddle(["kv", "put", "a", "after"], { env });
      expect((await heddle(["snapshot", "restore", ofConsul], { env })).out).toBe("Restored snapshot\n");
      const ours = { CONSUL_HTTP_ADDR: agent.url };
      await heddle(["snapshot", "save", ofHeddle], { env: ours });
      const wrong = await heddle(["snapshot", "restore", ofHeddle], { env });
      expect([wrong.status, wrong.err]).toEqual([1, expect.stringContaining("unsupported snapshot version 1001")]);
      expect((await heddle(["kv", "get", "a"], { env })).out).toBe("before\n");
      const back = await heddle(["snapshot", "restore", ofConsul], { env: ours });
      expect([back.status, back.err]).toEqual([1, expect.stringContaining("its state is not Heddle's")]);
    } finally {
      await theirs[Symbol.asyncDispose]();
    }
  });
});
