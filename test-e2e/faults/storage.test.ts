/** DUR-05 and DUR-08: data directories that cannot be had, and a disk that fills up under a running daemon. */
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, onTestFinished, test } from "vitest";
import { ask, type Daemon, daemon, freePort, get, NODE, put, ROOT, run, serve, tempDir, until } from "./daemon.ts";

const NOBODY = 65_534;

/** Starts it and expects it to end by itself, soon and with a reason; returns what it said. */
async function refused(argv: string[], asUser = 0): Promise<string> {
  const start = performance.now();
  const [program, ...rest] = asUser
    ? [
        "setpriv",
        `--reuid=${asUser}`,
        `--regid=${asUser}`,
        "--clear-groups",
        NODE,
        join(ROOT, "apps/cli/src/main.ts"),
        ...argv,
      ]
    : [NODE, join(ROOT, "apps/cli/src/main.ts"), ...argv];
  const ended = run(program, rest);
  expect(await ended.exited).toEqual([1, null]);
  expect(performance.now() - start).toBeLessThan(10_000); // 2 s, and a machine that does other things
  return ended.output();
}

const STORES = ["catalog", "ca"] as const;

test.each(STORES)("a second %s on the same directory is refused, the first goes on", async (name) => {
  const dataDir = tempDir();
  await (await serve(name, await freePort(), `-data-dir=${dataDir}`)).end("SIGKILL"); // which must not leave its lock behind
  const first = await serve(name, await freePort(), `-data-dir=${dataDir}`);
  const said = await refused(["serve", name, "-port=0", `-data-dir=${dataDir}`]);
  expect(said).toContain(`the data directory ${dataDir} is in use by another process: end it, or give this one`);
  if (name === "catalog") expect((await put(`${first.url}/v1/kv/a`, "1")).text).toContain("true");
  expect((await get(`${first.url}/readyz`)).status).toBe(200);
  expect(await first.end()).toEqual([0, null]);
});

test("a second agent on the same directory is refused, the first goes on", async () => {
  const dataDir = tempDir();
  const ports = async () => [`-http-port=${await freePort()}`, "-dns-port=-1", `-server-port=${await freePort()}`];
  const httpPort = await freePort();
  const argv = ["agent", "-server", "-bootstrap-expect=1", "-bind=127.0.0.1", `-data-dir=${dataDir}`];
  const first = await daemon([...argv, ...(await ports()), `-http-port=${httpPort}`], httpPort);
  expect(await refused([...argv, ...(await ports())])).toContain(`${dataDir} is in use by another process`);
  expect((await put(`${first.url}/v1/kv/a`, "1")).status).toBe(200);
  expect(await first.end()).toEqual([0, null]);
});

test.each(STORES)("%s on data of a newer version says so and touches nothing", async (name) => {
  const dataDir = tempDir();
  const path = join(dataDir, `${name}.db`);
  const db = new DatabaseSync(path);
  db.exec("PRAGMA user_version = 7");
  db.close();
  const before = statSync(path).size;
  const said = await refused(["serve", name, "-port=0", `-data-dir=${dataDir}`]);
  expect(said).toContain(`the data in ${path} is of a newer version (schema 7, this heddle knows 1): start the newer`);
  expect(statSync(path).size).toBe(before);
});

test.each(STORES)("%s on something that is no database says so", async (name) => {
  const dataDir = tempDir();
  writeFileSync(join(dataDir, `${name}.db`), "no database ".repeat(1_000));
  expect(await refused(["serve", name, "-port=0", `-data-dir=${dataDir}`])).toContain("is not a readable database");
});

test("a directory that this user may not write, or only read, is named", async () => {
  const dataDir = join(tempDir(), "d");
  mkdirSync(dataDir, { mode: 0o755 });
  chmodSync(join(dataDir, ".."), 0o755);
  const first = await serve("catalog", await freePort(), `-data-dir=${dataDir}`);
  await first.end();
  for (const file of readdirSync(dataDir)) chmodSync(join(dataDir, file), 0o644);
  const said = await refused(["serve", "catalog", "-port=0", `-data-dir=${dataDir}`], NOBODY);
  expect(said).toContain(
    `cannot write the data directory ${dataDir}: check that it exists, or can be made, and that this user may write`,
  );
  expect(said).not.toMatch(/^\s+at /m); // a reason, not a stack
  writeFileSync(join(dataDir, "file"), "");
  expect(await refused(["serve", "ca", "-port=0", `-data-dir=${join(dataDir, "file")}`])).toContain(
    "it is a file, or below one",
  );
});

/** Mounts a small disk; undefined where this machine does not allow it. */
function smallDisk(sizeKiB: number): string | undefined {
  const dir = tempDir();
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${sizeKiB}k`, "tmpfs", dir], { stdio: "pipe" });
  } catch (error) {
    console.log(`not tested here: a mount is not permitted (${(error as Error).message.split("\n")[1] ?? ""})`);
    return undefined;
  }
  onTestFinished(() => void execFileSync("umount", ["-l", dir]));
  return dir;
}

/** Writes values until one is refused, and checks how; returns how many were acknowledged. */
async function fill(url: string, valueOf: (n: number) => string): Promise<number> {
  for (let n = 0; n < 500; n++) {
    const start = performance.now();
    const answer = await put(`${url}/v1/kv/fill/${n}`, valueOf(n));
    expect(performance.now() - start).toBeLessThan(1_000);
    if (answer.status === 200) continue;
    expect(answer.status).toBeGreaterThanOrEqual(500);
    expect(answer.text).toMatch(/no room left on the disk of .*: the write is refused, reads go on; free some space/);
    return n;
  }
  throw new Error("the disk never filled up");
}

test("a full disk: writes are refused with a reason, reads and the rest go on, and it heals", async (ctx) => {
  const disk = smallDisk(6_144);
  if (!disk) return ctx.skip("mount is not permitted");
  const ballast = join(disk, "ballast");
  writeFileSync(ballast, Buffer.alloc(2_048 * 1_024));
  const dataDir = join(disk, "data");
  const port = await freePort();
  let catalog: Daemon = await serve("catalog", port, `-data-dir=${dataDir}`);
  const valueOf = (n: number) => `${n}:`.padEnd(100_000, "x");
  const acked = await fill(catalog.url, valueOf);
  expect(acked).toBeGreaterThan(3);

  const holdsAll = async () => {
    for (let n = 0; n < acked; n++)
      expect((await get(`${catalog.url}/v1/kv/fill/${n}?raw`)).text === valueOf(n)).toBe(true);
    expect((await get(`${catalog.url}/v1/kv/fill/${acked}`)).status).toBe(404);
  };
  await holdsAll();
  // Everything that writes is refused alike, several at once too, and none of it hangs or ends the daemon.
  const refusals = await Promise.all([
    ...Array.from({ length: 20 }, (_, n) => put(`${catalog.url}/v1/kv/more/${n}`, valueOf(n))),
    put(`${catalog.url}/v1/catalog/register`, {
      Node: "n".padEnd(60, "x"),
      Address: "10.0.0.1",
      NodeMeta: { a: valueOf(0).slice(0, 500) },
      Service: { Service: "web", Meta: { b: "x".repeat(500) } },
    }),
  ]);
  for (const { status, text } of refusals.slice(0, 20))
    expect([status, text]).toEqual([503, expect.stringContaining("no room left")]);
  expect((await get(`${catalog.url}/healthz`)).status).toBe(200);
  await holdsAll();

  rmSync(ballast);
  await until(
    () => put(`${catalog.url}/v1/kv/after`, valueOf(0)),
    ({ status }) => status === 200,
    5_000,
  );
  await holdsAll();
  // What was refused must not come back from the disk, nor what was acknowledged be missing there.
  await catalog.end("SIGKILL");
  catalog = await serve("catalog", port, `-data-dir=${dataDir}`);
  await holdsAll();
  expect((await get(`${catalog.url}/v1/kv/after?raw`)).text === valueOf(0)).toBe(true);
  expect(await catalog.end()).toEqual([0, null]);
});

test("a CA and an agent that start on a full disk say so and end", async (ctx) => {
  const disk = smallDisk(256);
  if (!disk) return ctx.skip("mount is not permitted");
  writeFileSync(join(disk, "ballast"), Buffer.alloc(252 * 1_024));
  expect(await refused(["serve", "ca", "-port=0", `-data-dir=${disk}`])).toMatch(
    /no room left on the disk of|cannot write the data directory/,
  );
});

test("an agent whose disk fills up refuses registrations and goes on with the old ones", async (ctx) => {
  const disk = smallDisk(4_096);
  if (!disk) return ctx.skip("mount is not permitted");
  const ballast = join(disk, "ballast");
  writeFileSync(ballast, Buffer.alloc(1_024 * 1_024));
  const httpPort = await freePort();
  const argv = ["agent", "-server", "-bootstrap-expect=1", "-bind=127.0.0.1", `-data-dir=${join(disk, "data")}`];
  const agent = await daemon(
    [...argv, `-http-port=${httpPort}`, "-dns-port=-1", `-server-port=${await freePort()}`],
    httpPort,
  );
  expect((await put(`${agent.url}/v1/agent/service/register`, { Name: "first" })).status).toBe(200);
  await fill(agent.url, (n) => `${n}:`.padEnd(100_000, "x"));
  expect(() => writeFileSync(ballast, Buffer.alloc(8 * 1024 * 1024))).toThrow("ENOSPC");
  let refusedAt = 0;
  for (let n = 1; n <= 60 && refusedAt === 0; n++) {
    const Meta = Object.fromEntries(Array.from({ length: 60 }, (_, k) => [`k${k}`, "x".repeat(500)]));
    const answer = await put(`${agent.url}/v1/agent/service/register`, { Name: `more-${n}`, Meta });
    if (answer.status !== 200) {
      expect([answer.status, answer.text]).toEqual([503, expect.stringContaining("no room left on the disk")]);
      refusedAt = n;
    }
  }
  expect(refusedAt).toBeGreaterThan(0);
  const services = (await get(`${agent.url}/v1/agent/services`)).json<Record<string, unknown>>();
  expect(Object.keys(services)).toContain("first");
  expect(Object.keys(services)).not.toContain(`more-${refusedAt}`);
  rmSync(ballast);
  await until(
    () => put(`${agent.url}/v1/agent/service/register`, { Name: "after" }),
    ({ status }) => status === 200,
    5_000,
  );
  await until(
    () => get(`${agent.url}/v1/catalog/service/after`),
    ({ text }) => text !== "[]",
    10_000,
  );
  expect(await agent.end()).toEqual([0, null]);
});

test("SUP-06: a plain user, a read-only root, a data directory: all that a daemon needs", async (ctx) => {
  const dataDir = join(tempDir(), "d");
  mkdirSync(dataDir, { mode: 0o700 });
  chmodSync(join(dataDir, ".."), 0o755);
  execFileSync("chown", [`${NOBODY}:${NOBODY}`, dataDir]);
  const port = await freePort();
  const inside = `mount --bind ${dataDir} ${dataDir} && mount -o remount,ro,bind / && exec setpriv --reuid=${NOBODY} --regid=${NOBODY} --clear-groups "$@"`;
  const argv = [NODE, join(ROOT, "apps/cli/src/main.ts"), "serve", "catalog", `-port=${port}`, `-data-dir=${dataDir}`];
  const catalog = run("unshare", ["--mount", "sh", "-c", inside, "sh", ...argv], { env: { HOME: "/nonexistent" } });
  await Promise.race([catalog.saw("is serving"), catalog.exited]);
  if (/unshare failed|permission denied/i.test(catalog.output())) return ctx.skip("namespaces are not permitted");
  expect((await put(`http://127.0.0.1:${port}/v1/kv/a`, "1")).status).toBe(200);
  const modes = readdirSync(dataDir).map((file) => statSync(join(dataDir, file)).mode & 0o077);
  expect(modes.length).toBeGreaterThan(0);
  expect(new Set(modes)).toEqual(new Set([0]));
  expect((await ask(`http://127.0.0.1:${port}/readyz`)).status).toBe(200);
  expect(await catalog.end()).toEqual([0, null]);
});
