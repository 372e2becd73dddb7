/** Other people's TLS with a leaf of the mesh: openssl, stunnel and haproxy as callers of ours, and as services behind nothing else. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { expect, onTestFinished, test, type TestContext } from "vitest";
import { deny, dialApp, echo, freePort, isReady, startPair, startProxy, startService } from "./harness.ts";

function find(ctx: TestContext, ...names: string[]): string {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin"];
  const path = folders.flatMap((folder) => names.map((name) => join(folder, name))).find((file) => existsSync(file));
  if (path) return path;
  const reason = `skipped '${ctx.task.name}': there is no ${names[0]} (tools/install-test-tools.sh)`;
  process.stdout.write(`${reason}\n`);
  ctx.skip(reason);
}

function run(file: string, args: string[]): ChildProcess {
  const child = spawn(file, args, { stdio: ["pipe", "pipe", "pipe"] });
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  return child;
}

/** `web` calls `db`, both ours, with leaves of both as files for others to be one of them. */
async function startMesh() {
  const pair = await startPair();
  const dir = mkdtempSync(join(tmpdir(), "heddle-interop-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const file = (name: string, text: string) => {
    writeFileSync(join(dir, name), text, { mode: 0o600 });
    return join(dir, name);
  };
  const leaf = (service: string) => {
    const { certPem, keyPem } = pair.agent.mesh.identity(service);
    return {
      pem: file(`${service}.pem`, certPem + keyPem),
      cert: file(`${service}.crt`, certPem),
      key: file(`${service}.key`, keyPem),
    };
  };
  const roots = file("roots.pem", pair.agent.state.roots.join(""));
  return { ...pair, dir, file, leaf, roots };
}

const says = async (port: number, text: string): Promise<string> => {
  const app = await dialApp(port);
  app.socket.end(text);
  await app.ended;
  return app.received().toString();
};

type Mesh = Awaited<ReturnType<typeof startMesh>>;
type Side = { mesh: Mesh; listen: number; target: number; service: string };

/** As a caller: plain TCP in, mutual TLS to our public listener. As a service: mutual TLS in, plain TCP to an echo. */
const tools: [string, string[], Record<"caller" | "service", (side: Side) => string[]>][] = [
  [
    "stunnel",
    ["stunnel4", "stunnel"],
    {
      caller: (side) => [stunnel("yes", side)],
      service: (side) => [stunnel("no", side)],
    },
  ],
  [
    "haproxy",
    ["haproxy"],
    {
      caller: (side) => ["-db", "-q", "-f", haproxy("", `ssl ${haproxyTls(side)}`, side)],
      service: (side) => ["-db", "-q", "-f", haproxy(`ssl ${haproxyTls(side)}`, "", side)],
    },
  ],
];

function stunnel(client: "yes" | "no", { mesh, listen, target, service }: Side): string {
  return mesh.file(
    `stunnel-${listen}.conf`,
    `foreground = yes\npid =\nsyslog = no\n[mesh]\nclient = ${client}\naccept = 127.0.0.1:${listen}\nconnect = 127.0.0.1:${target}\n` +
      `cert = ${mesh.leaf(service).pem}\nCAfile = ${mesh.roots}\nverifyChain = yes\n`,
  );
}

function haproxyTls({ mesh, service }: Side): string {
  return `crt ${mesh.leaf(service).pem} ca-file ${mesh.roots} verify required`;
}

function haproxy(front: string, back: string, { mesh, listen, target }: Side): string {
  return mesh.file(
    `haproxy-${listen}.cfg`,
    `defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n` +
      `frontend in\n  bind 127.0.0.1:${listen} ${front}\n  default_backend out\nbackend out\n  server far 127.0.0.1:${target} ${back}\n`,
  );
}

test.for(tools)("%s calls a service of the mesh, and a deny refuses it", { timeout: 30_000 }, async (tool, ctx) => {
  const [, names, args] = tool;
  const path = find(ctx, ...names);
  const mesh = await startMesh();
  const listen = await freePort();
  run(path, args.caller({ mesh, listen, target: mesh.publicPort, service: "web" }));
  await expect.poll(() => says(listen, "hello")).toBe("hello");
  const { tls, source_id } = await mesh.db.logged("connection closed", { source: "web", decision: "allowed" });
  expect(tls).toMatch(/^TLSv1\.3 /);
  expect(source_id).toMatch(/\/svc\/web$/);
  mesh.agent.change((state) => state.intentions.push(deny("web", "db")));
  await expect.poll(() => says(listen, "denied")).toBe("");
  await mesh.db.logged("connection refused", { source: "web", decision: "refused" });
});

test.for(tools)("%s is a service that ours calls, if it is the one wanted", { timeout: 30_000 }, async (tool, ctx) => {
  const [, names, args] = tool;
  const path = find(ctx, ...names);
  const mesh = await startMesh();
  const { port: target } = await startService(echo);
  const [right, wrong] = [await freePort(), await freePort()];
  run(path, args.service({ mesh, listen: right, target, service: "other" }));
  run(path, args.service({ mesh, listen: wrong, target, service: "web" }));
  const endpoint = (port: number) => [{ host: "127.0.0.1", port }];
  mesh.agent.change((state) => {
    state.endpoints.other = endpoint(right);
    state.endpoints.another = endpoint(wrong);
  });
  const web = await startProxy(["-service=web", "-upstream=other:0", "-upstream=another:0"], {
    agent: mesh.agent.address,
  });
  await isReady(web);
  const portOf = (name: string) => web.running.listeners().find((l) => l.name.endsWith(`/${name}`))?.address?.port ?? 0;
  await expect.poll(() => says(portOf("other"), "hello")).toBe("hello");
  expect((await web.logged("connection closed", { destination: "other" })).tls).toMatch(/^TLSv1\.3 /);
  await expect.poll(() => says(portOf("another"), "hello")).toBe("");
  const { reason } = await web.logged("connection refused", { destination: "another", decision: "refused" });
  expect(reason).toBeTruthy();
});

test("openssl with a leaf of the mesh calls ours, and is called", { timeout: 30_000 }, async (ctx) => {
  const openssl = find(ctx, "openssl");
  const mesh = await startMesh();
  const { cert, key } = mesh.leaf("web");
  const client = run(openssl, [
    "s_client",
    ...["-connect", `127.0.0.1:${mesh.publicPort}`, "-cert", cert, "-key", key, "-CAfile", mesh.roots],
    ...["-verify_return_error", "-quiet", "-nocommands"],
  ]);
  let out = "";
  client.stdout?.on("data", (chunk: Buffer) => (out += chunk.toString()));
  client.stdin?.write("from openssl\n");
  await expect.poll(() => out).toBe("from openssl\n");
  client.stdin?.end();
  mesh.agent.change((state) => state.intentions.push(deny("web", "db")));
  await once(client, "exit");
  await mesh.db.logged("connection closed", { source: "web" });

  const other = mesh.leaf("other");
  const port = await freePort();
  run(openssl, [
    "s_server",
    ...["-accept", `127.0.0.1:${port}`, "-cert", other.cert, "-key", other.key, "-CAfile", mesh.roots],
    ...["-Verify", "1", "-verify_return_error", "-rev", "-quiet"],
  ]);
  mesh.agent.change((state) => {
    state.endpoints.other = [{ host: "127.0.0.1", port }];
  });
  const caller = await startProxy(["-service=web", "-upstream=other:0"], { agent: mesh.agent.address });
  await isReady(caller);
  const at = caller.running.listeners()[0]?.address?.port ?? 0;
  const reversed = async () => {
    const app = await dialApp(at);
    app.socket.write("olleh\n");
    await Promise.race([app.ended, expect.poll(() => app.received().length).toBeGreaterThan(0)]);
    app.socket.destroy();
    return app.received().toString();
  };
  await expect.poll(reversed).toBe("hello\n");
});
