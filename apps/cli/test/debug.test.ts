/** `debug` against Heddle's agent and, where there is one, Consul's: what the archive holds. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { execute, heddle, startConsul, startHeddle, until } from "./harness.ts";

const dir = mkdtempSync(join(tmpdir(), "heddle-debug-"));
afterAll(() => rmSync(dir, { recursive: true }));

/** The names in a folder that match; by default those of the intervals. */
const readdir = (path: string, pattern = /^\d+$/) => readdirSync(path).filter((name) => pattern.test(name));
const SECONDS = /\/\d{10}\//g;
const list = async (archive: string) =>
  (await execute("tar", ["tzf", archive])).out.replace(SECONDS, "/{time}/").trim().split("\n");

it.concurrent("records a Heddle agent", async () => {
  await using agent = await startHeddle();
  const output = join(dir, "heddle");
  const { status, out, err } = await heddle(["debug", "-duration=10s", "-interval=5s", `-output=${output}`], {
    env: { HEDDLE_HTTP_ADDR: agent.url },
  });
  expect({ status, err }).toEqual({ status: 0, err: "" });
  expect(out).toContain(`Saved debug archive: ${output}.tar.gz`);
  const interval = ["", "consul.log", "heap.heapprofile", "metrics.json", "profile.cpuprofile", "runtime.json"].map(
    (name) => `heddle/{time}/${name}`,
  );
  expect(await list(`${output}.tar.gz`)).toEqual([
    "heddle/",
    ...interval,
    ...interval,
    ...["agent.json", "cluster.json", "host.json", "index.json"].map((name) => `heddle/${name}`),
  ]);
  expect(statSync(`${output}.tar.gz`).mode & 0o777).toBe(0o600);
  await execute("tar", ["xzf", `${output}.tar.gz`, "-C", dir]);
  const read = (file: string) => JSON.parse(readFileSync(join(output, file), "utf8")) as Record<string, unknown>;
  expect(read("index.json")).toMatchObject({ Version: 1, Interval: "5s", Duration: "10s" });
  expect(read("agent.json")).toHaveProperty("Config.NodeName", "cli1");
  const [first] = readdir(output);
  expect(read(`${first}/profile.cpuprofile`)).toHaveProperty("nodes");
  expect(read(`${first}/heap.heapprofile`)).toHaveProperty("head");
  expect(read(`${first}/runtime.json`)).toHaveProperty("Memory.rss");
});

it.concurrent("records a Consul agent in the layout of Consul's own", async () => {
  await using agent = await startConsul();
  if (!agent) return;
  const output = join(dir, "consul");
  const env = { CONSUL_HTTP_ADDR: agent.url };
  const result = await heddle(["debug", "-duration=10s", "-interval=10s", `-output=${output}`], { env });
  expect(result).toMatchObject({ status: 0, err: "" });
  expect(await list(`${output}.tar.gz`)).toEqual([
    "consul/",
    ...["", "consul.log", "goroutine.prof", "heap.prof", "metrics.json", "profile.prof", "trace.out"].map(
      (name) => `consul/{time}/${name}`,
    ),
    ...["agent.json", "cluster.json", "host.json", "index.json"].map((name) => `consul/${name}`),
  ]);
});

it.concurrent("leaves a folder where asked, and keeps what it has when interrupted", async () => {
  await using agent = await startHeddle();
  const output = join(dir, "folder");
  const controller = new AbortController();
  const args = ["debug", "-archive=false", "-capture=agent", "-capture=logs", `-output=${output}`];
  const running = heddle(args, { env: { HEDDLE_HTTP_ADDR: agent.url }, interrupted: controller.signal });
  await until(async () => readdir(output).length === 1);
  controller.abort();
  const { status, err } = await running;
  expect({ status, err }).toEqual({
    status: 0,
    err: "==> Error encountered during collection: stopping collection due to shutdown signal\n",
  });
  expect(readdir(output, /./)).toEqual([expect.stringMatching(/^\d{10}$/), "agent.json", "index.json"]);
  expect(await heddle([...args], { env: { HEDDLE_HTTP_ADDR: agent.url } })).toMatchObject({
    status: 1,
    err: `==> Capture validation failed: output directory already exists: ${output}\n`,
  });
});
