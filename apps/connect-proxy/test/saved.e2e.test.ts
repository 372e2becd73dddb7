/** A proxy that starts while no agent answers goes on with what it saved, and with nothing that cannot be trusted. */
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { startFakeAgent } from "@heddle/data-plane/testing";
import { deny, dialApp, echo, freePort, isReady, sidecar, startProxy, startService } from "./harness.ts";

/** A sidecar and an upstream that have saved what they know, and are stopped; so is the agent. */
async function startSaved() {
  const dir = mkdtempSync(join(tmpdir(), "heddle-state-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const agent = await startFakeAgent();
  onTestFinished(() => agent.stop());
  const service = await startService(echo);
  const [publicPort, port] = [await freePort(), await freePort()];
  agent.change((state) => {
    state.services["db-sidecar-proxy"] = sidecar(publicPort, service.port);
    state.endpoints.db = [{ host: "127.0.0.1", port: publicPort }];
    state.intentions.push(deny("api", "db"));
  });
  const start = async (...more: string[]) => {
    const db = await startProxy(["-sidecar-for=db", `-state-dir=${dir}`], { agent: agent.address });
    const argv = ["-service=web", `-upstream=db:${port}`, `-state-dir=${dir}`, ...more];
    const web = await startProxy(argv, { agent: agent.address });
    return { db, web };
  };
  const { db, web } = await start();
  await Promise.all([isReady(db), isReady(web)]);
  await Promise.all([db.running.close(), web.running.close()]);
  await agent.stop();
  const files = () => readdirSync(dir).map((name) => join(dir, name));
  return { agent, dir, port, start, files };
}

async function echoes(port: number): Promise<boolean> {
  const app = await dialApp(port);
  app.socket.end("still here");
  return (await app.ended) === "end" && app.received().toString() === "still here";
}

test("it serves, says so, and follows the agent again once that answers", async () => {
  const { agent, port, start, files } = await startSaved();
  expect(files()).toHaveLength(2);
  for (const file of files()) expect(statSync(file).mode & 0o777).toBe(0o600);
  const hourAgo = new Date(Date.now() - 3_600_000);
  for (const file of files()) utimesSync(file, hourAgo, hourAgo); // when it was last known to hold
  const metrics = await freePort();
  const { db, web } = await start(`-metrics-addr=127.0.0.1:${metrics}`);
  const age = async () => {
    const text = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
    return Number(/^heddle_proxy_snapshot_age_seconds\S* (\S+)$/m.exec(text)?.[1]);
  };
  for (const proxy of [db, web]) {
    await proxy.logged("no agent answers: serving what was saved");
    await isReady(proxy);
  }
  expect(await echoes(port)).toBe(true);
  await expect.poll(age).toBeGreaterThan(3_600);
  agent.change((state) => state.intentions.push(deny("web", "db")));
  await agent.restart();
  await expect.poll(() => echoes(port)).toBe(false);
  await expect.poll(age).toBe(0);
});

test.each<[string, (file: string) => void, RegExp]>([
  [
    "damaged",
    (file) => writeFileSync(file, readFileSync(file, "utf8").replace('"allow"', '"deny!"').replace("a", "b")),
    /damaged/,
  ],
  ["cut short", (file) => writeFileSync(file, readFileSync(file).subarray(0, 500)), /damaged/],
  ["empty", (file) => writeFileSync(file, ""), /damaged/],
  ["readable by others", (file) => chmodSync(file, 0o644), /want mode 0600/],
])("nothing is served from a file that is %s", async (_, spoil, why) => {
  const { agent, dir, port, files } = await startSaved();
  for (const file of files()) spoil(file);
  const argv = ["-service=web", `-upstream=db:${port}`, `-state-dir=${dir}`];
  const web = await startProxy(argv, { agent: agent.address });
  const { error } = await web.logged("what was saved cannot be used");
  expect(error).toMatch(why);
  expect(web.count("no agent answers: serving what was saved")).toBe(0);
  expect(await (await dialApp(port)).ended).toBe("ECONNREFUSED");
});
