/** The catalog and DNS as two processes: what is registered in one is dug from the other, also while the first is dead. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";

const run = promisify(execFile);
const ROOT = new URL("..", import.meta.url).pathname;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Starts a daemon from its own folder and waits for the line that says it serves. */
async function daemon(name: string, ...args: string[]): Promise<{ child: ChildProcess; output: () => string }> {
  const child = spawn(process.execPath, ["src/main.ts", ...args], {
    cwd: `${ROOT}apps/${name}`,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  onTestFinished(() => void child.kill("SIGKILL"));
  await expect.poll(() => output).toContain("is serving");
  return { child, output: () => output };
}

async function put(port: number, path: string, body: unknown, method = "PUT"): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: JSON.stringify(body) });
  expect(answer.status, await answer.text()).toBe(200);
}

const register = (port: number, node: string, address: string, service: object, check?: object) =>
  put(port, "/v1/catalog/register", { Node: node, Address: address, Service: service, ...(check && { Check: check }) });

test("register, dig, kill -9 the catalog, dig, bring it back, dig", async () => {
  const [catalogPort, dnsPort, metricsPort] = [await freePort(), await freePort(), await freePort()];
  const catalog = await daemon("catalog", `-port=${catalogPort}`);
  await register(catalogPort, "n1", "10.0.0.1", { ID: "web1", Service: "web", Port: 80, Tags: ["v1"] });
  await register(catalogPort, "n2", "10.0.0.2", { ID: "web2", Service: "web", Port: 81, Address: "10.5.0.2" });
  await register(catalogPort, "n1", "10.0.0.1", {
    ID: "p",
    Service: "web-proxy",
    Kind: "connect-proxy",
    Port: 21000,
    Proxy: { DestinationServiceName: "web" },
  });
  await put(catalogPort, "/v1/query", { Name: "find-web", Service: { Service: "web" }, DNS: { TTL: "9s" } }, "POST");
  await put(catalogPort, "/v1/query", { Name: "near", Service: { Service: "web", Near: "_ip" } }, "POST");
  const catalogUrl = `-catalog-url=http://127.0.0.1:${catalogPort}`;
  const dns = await daemon("dns", `-port=${dnsPort}`, `-metrics-port=${metricsPort}`, catalogUrl);
  const metric = async (name: string) => {
    const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
    return Number(new RegExp(`^${name}\\{[^}]*\\} (\\S+)$`, "m").exec(text)?.[1]);
  };
  const dig = async (...args: string[]) => {
    const { stdout } = await run("dig", [
      "@127.0.0.1",
      "-p",
      String(dnsPort),
      "+short",
      "+tries=3",
      "+time=3",
      ...args,
    ]);
    return stdout.split("\n").filter(Boolean).toSorted();
  };

  await expect.poll(() => dig("web.service.consul")).toEqual(["10.0.0.1", "10.5.0.2"]);
  expect(await dig("web.service.consul", "SRV")).toEqual([
    "1 1 80 n1.node.dc1.consul.",
    "1 1 81 0a050002.addr.dc1.consul.",
  ]);
  expect(await dig("web.service.consul", "SRV", "+tcp")).toHaveLength(2);
  expect(await dig("v1.web.service.consul")).toEqual(["10.0.0.1"]);
  expect(await dig("web.connect.consul", "SRV")).toEqual(["1 1 21000 n1.node.dc1.consul."]);
  expect(await dig("n1.node.consul")).toEqual(["10.0.0.1"]);
  expect(await dig("-x", "10.0.0.1")).toEqual(["n1.node.dc1.consul."]);
  expect(await dig("-x", "10.5.0.2")).toEqual(["web.service.dc1.consul."]);
  expect(await dig("find-web.query.consul")).toEqual(["10.0.0.1", "10.5.0.2"]);
  // Whose resolver tells where it is gets its own node's instance first.
  for (const [client, first] of [
    ["10.0.0.1", "10.0.0.1"],
    ["10.0.0.2", "10.5.0.2"],
  ] as const) {
    const args = ["@127.0.0.1", "-p", String(dnsPort), "+short", `+subnet=${client}/32`, "near.query.consul"];
    for (let i = 0; i < 5; i++) expect((await run("dig", args)).stdout.split("\n")[0]).toBe(first);
  }

  await register(
    catalogPort,
    "n2",
    "10.0.0.2",
    { ID: "web2", Service: "web", Port: 81, Address: "10.5.0.2" },
    { CheckID: "c", Name: "c", ServiceID: "web2", Status: "critical" },
  );
  await expect.poll(() => dig("web.service.consul")).toEqual(["10.0.0.1"]);
  await expect.poll(() => dig("find-web.query.consul")).toEqual(["10.0.0.1"]);

  catalog.child.kill("SIGKILL");
  await once(catalog.child, "exit");
  expect(await metric("heddle_dns_stale_answers_total")).toBe(0);
  await expect.poll(() => metric("heddle_dns_catalog_connected")).toBe(0);
  expect(await dig("web.service.consul")).toEqual(["10.0.0.1"]);
  expect(await metric("heddle_dns_stale_answers_total")).toBe(1);
  expect(await dig("find-web.query.consul")).toEqual(["10.0.0.1"]);

  // In memory only: it comes back empty and its index starts anew.
  await daemon("catalog", `-port=${catalogPort}`);
  await expect.poll(() => dig("n1.node.consul")).toEqual([]);
  await register(catalogPort, "n3", "10.0.0.3", { ID: "web3", Service: "web", Port: 80 });
  await expect.poll(() => dig("web.service.consul")).toEqual(["10.0.0.3"]);

  dns.child.kill("SIGTERM");
  expect(await once(dns.child, "exit")).toEqual([0, null]);
  expect(dns.output()).not.toContain("[ERROR]");
}, 120_000);

test("two port-takers: the second says who is there, and a bad flag names every problem", async () => {
  const port = await freePort();
  const catalogUrl = "-catalog-url=http://127.0.0.1:9";
  const first = await daemon("dns", `-port=${port}`, catalogUrl);
  const main = ["src/main.ts", `-port=${port}`, catalogUrl];
  await expect(run(process.execPath, main, { cwd: `${ROOT}apps/dns` })).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining(`cannot listen on 127.0.0.1:${port} (tcp): the port is in use by`),
  });
  await expect(
    run(process.execPath, ["src/main.ts", "-port=x", "-node-ttl=soon"], { cwd: `${ROOT}apps/dns` }),
  ).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/-port: invalid value 'x'[^]*-node-ttl: invalid value 'soon'/),
  });
  first.child.kill("SIGTERM");
  expect(await once(first.child, "exit")).toEqual([0, null]);
});
