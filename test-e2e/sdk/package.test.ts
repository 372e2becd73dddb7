/** `@heddle/connect` as users have it: packed, installed in an empty folder without a network, and run and compiled there. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { needsConsul, startConsulAgent } from "../support/consul.ts";
import { makePlace, startAgent } from "../support/mesh.ts";
import { type Program, ROOT, run, start } from "../support/process.ts";

const exec = promisify(execFile);
const bin = (name: string) => join(ROOT, "node_modules/.bin", name);
const dir = mkdtempSync(join(tmpdir(), "heddle-sdk-"));
const program = join(dir, "program");
const installed = join(program, "node_modules/@heddle/connect");
afterAll(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));

const SERVICE = `import { startConnect } from "@heddle/connect";
const connect = await startConnect({ service: "greeter" });
const greet = (req, res) => res.end(\`hello, \${req.socket.peer.service}\`);
await connect.createHttpServer(greet, { register: true }).listen(0, "127.0.0.1");
process.once("SIGTERM", () => connect.close());
`;
const CALLER = `import { startConnect } from "@heddle/connect";
await using connect = await startConnect({ service: "web" });
console.log(await (await connect.fetch("http://greeter.service.consul/")).text());
`;
const TYPED = `import { type Connect, createLogHub, type MeshServer, type MeshSocket, RefusedError, startConnect } from "@heddle/connect";
const connect: Connect = await startConnect({ service: "web", log: createLogHub({ level: "warn" }).log, agent: { address: "127.0.0.1:8500" } });
const socket: MeshSocket = await connect.dial("greeter", { timeoutMs: 1_000 });
const who: string = socket.peer.service;
const server: MeshServer = connect.createServer((peer) => void peer.end(who), { register: { Tags: ["a"] } });
const metrics: Promise<string> = connect.registry.metrics();
const code: string | undefined = new Error() instanceof RefusedError ? "never" : undefined;
// @ts-expect-error a service's name is text
await startConnect({ service: 1 });
export { code, metrics, server };
`;

beforeAll(async () => {
  mkdirSync(program);
  await exec(bin("pnpm"), ["pack", "--pack-destination", dir], { cwd: join(ROOT, "packages/connect") });
  const tarball = readdirSync(dir).find((name) => name.endsWith(".tgz")) ?? "";
  writeFileSync(join(program, "package.json"), JSON.stringify({ name: "program", type: "module" }));
  const flags = ["--offline", "--ignore-workspace", `--store-dir=${join(dir, "store")}`];
  await exec(bin("pnpm"), ["add", ...flags, join(dir, tarball)], { cwd: program });
  for (const [name, text] of Object.entries({ "service.js": SERVICE, "caller.js": CALLER, "typed.ts": TYPED }))
    writeFileSync(join(program, name), text);
}, 120_000);

test("brings no other package, no source of ours, and the licences of what is in it", () => {
  const manifest = JSON.parse(readFileSync(join(installed, "package.json"), "utf8")) as Record<string, unknown>;
  expect(manifest).toMatchObject({ name: "@heddle/connect", type: "module", engines: { node: expect.any(String) } });
  for (const key of ["dependencies", "devDependencies", "private", "scripts"]) expect(manifest).not.toHaveProperty(key);
  const files = readdirSync(installed, { recursive: true, encoding: "utf8" });
  expect(files.filter((file) => file.endsWith(".ts") && !file.endsWith(".d.ts"))).toEqual([]);
  const text = (file: string) => readFileSync(join(installed, file), "utf8");
  for (const file of files.filter((name) => /\.(?:js|d\.ts)$/.test(name)))
    expect(text(file), file).not.toMatch(/(?:from|import\() ?"(?:@heddle|prom-client|ws|pino|zod|express)/);
  expect(text("THIRD-PARTY-LICENSES")).toMatch(/^prom-client .* \(Apache-2\.0\)$/m);
  expect(text("THIRD-PARTY-LICENSES")).toMatch(/^ws .* \(MIT\)$/m);
});

test("its types stand by themselves, under a strict compiler that looks into them", async () => {
  const compilerOptions = {
    ...{ strict: true, noEmit: true, skipLibCheck: false, target: "es2024", module: "nodenext" },
    ...{ lib: ["es2024", "esnext.disposable"], types: ["node"], typeRoots: [join(ROOT, "node_modules/@types")] },
  };
  writeFileSync(join(program, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["typed.ts"] }));
  expect(await run(bin("tsc"), ["-p", "tsconfig.json"], { cwd: program })).toEqual({ status: 0, out: "", err: "" });
}, 30_000);

/** The service and its caller, until a rule is between them. */
async function callEachOther(address: string, deny: () => Promise<void>): Promise<void> {
  const env = { CONSUL_HTTP_ADDR: address };
  const node = (file: string): Program => start(process.execPath, [file], { cwd: program, env });
  const service = node("service.js");
  const healthy = async () =>
    ((await (await fetch(`http://${address}/v1/health/connect/greeter?passing`)).json()) as unknown[]).length;
  await expect.poll(healthy).toBe(1);
  const call = async () => {
    const caller = node("caller.js");
    await caller.exited;
    return caller.text;
  };
  expect(await call()).toBe("hello, web\n");
  await deny();
  await expect.poll(call).toMatch(/fetch failed[^]*DENY default\/web => default\/greeter/);
  expect(await service.stop()).toBe(0);
}

test("five lines are a service of Heddle's mesh", async () => {
  const place = await makePlace();
  place.remove("socat.json");
  const mesh = await startAgent(place, ["-dev"], "Started HTTP server");
  await callEachOther(`127.0.0.1:${mesh.ports.http}`, async () => {
    await mesh.ok("intention", "create", "-deny", "web", "greeter");
  });
}, 60_000);

test("the same five lines are a service of Consul's", async (ctx) => {
  const binary = needsConsul(ctx);
  const agent = await startConsulAgent("loom");
  const address = `127.0.0.1:${agent?.http}`;
  await callEachOther(address, async () => {
    const env = { CONSUL_HTTP_ADDR: address };
    expect(await run(binary, ["intention", "create", "-deny", "web", "greeter"], { env })).toMatchObject({ status: 0 });
  });
}, 60_000);
