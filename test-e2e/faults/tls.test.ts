/** The internal API off loopback: never in plain text, mutual TLS only, and each role may do its own work alone (SV-07, A10). */
import { execFile } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { createCsr, generateKey } from "@heddle/tls";
import { beforeAll, describe, expect, test } from "vitest";
import { askWith, type AskAsOptions, certificateFiles, makeCertificates, WEBSOCKET } from "./certificates.ts";
import { type Daemon, freePort, heddle, serve, tempDir, until } from "./daemon.ts";
import { earlyDataAt, makeEarlyDataSession } from "./early-data.ts";
import { exchange } from "./tcp.ts";

const exec = promisify(execFile);
const DIR = tempDir();
const OTHER = tempDir();
const files = (role: string) => certificateFiles(DIR, role);
const askAs = (port: number, role: string | undefined, options: AskAsOptions) => askWith(DIR, port, role, options);

beforeAll(() => Promise.all([makeCertificates(DIR), makeCertificates(OTHER)]).then(() => {}));

test.each(["catalog", "ca", "health"])("%s refuses plain text off loopback and says what to do", async (name) => {
  for (const host of ["0.0.0.0", "::", "192.0.2.1"]) {
    const refused = heddle(["serve", name, `-host=${host}`, "-port=0"]);
    expect(await refused.exited).toEqual([1, null]);
    expect(refused.output()).toContain(
      `refusing to serve the internal API in plain text on ${host}: give -ca-file, -cert-file and -key-file (made by 'heddle tls ca create' and 'heddle tls cert create'), or listen on 127.0.0.1`,
    );
  }
  const half = heddle(["serve", name, "-host=0.0.0.0", "-port=0", files(name)[1] as string]);
  expect(await half.exited).toEqual([1, null]);
  expect(half.output()).toContain("needs all of -ca-file, -cert-file and -key-file: -ca-file, -key-file not given");
  const unreadable = heddle([
    "serve",
    name,
    "-host=0.0.0.0",
    "-port=0",
    ...files(name).slice(0, 2),
    "-key-file=/nowhere",
  ]);
  expect(await unreadable.exited).toEqual([1, null]);
  expect(unreadable.output()).toContain("cannot read /nowhere");
  const noPem = join(tempDir(), "no.pem");
  writeFileSync(noPem, "no PEM");
  const broken = heddle(["serve", name, "-host=0.0.0.0", "-port=0", ...files(name).slice(0, 2), `-key-file=${noPem}`]);
  expect(await broken.exited).toEqual([1, null]);
  expect(broken.output()).not.toMatch(/^\s+at /m);
});

test("dns refuses to follow a catalog elsewhere in plain text", async () => {
  const refused = heddle(["serve", "dns", "-port=0", "-catalog-url=http://192.0.2.1:8300"]);
  expect(await refused.exited).toEqual([1, null]);
  expect(refused.output()).toMatch(/https/);
});

interface Served {
  name: string;
  /** What each role may not do. */
  forbidden: { role: string; method?: string; path: string; headers?: Record<string, string> }[];
  allowed: { role: string; path: string; status: number };
}
/** The CA asks it what runs on a node, and here nothing is asked. */
const NO_CATALOG = "-catalog-url=https://127.0.0.1:1";

const SERVED: Served[] = [
  {
    name: "catalog",
    forbidden: [
      ...["ca", "catalog", "dns", "health"].map((role) => ({ role, method: "PUT", path: "/v1/kv/a" })),
      { role: "dns", method: "DELETE", path: "/v1/kv/a" },
      { role: "health", path: "/v1/kv/a" },
      { role: "health", path: "/v1/stream", headers: WEBSOCKET },
    ],
    allowed: { role: "dns", path: "/v1/catalog/nodes", status: 200 },
  },
  {
    name: "ca",
    forbidden: [
      ...["ca", "catalog", "dns", "health", "operator"].map((role) => ({
        role,
        method: "POST",
        path: "/internal/v1/ca/sign",
      })),
      ...["agent", "dns"].map((role) => ({ role, method: "PUT", path: "/v1/connect/ca/configuration" })),
      { role: "agent", method: "PUT", path: "/v1/connect/ca/join-tokens" },
    ],
    allowed: { role: "dns", path: "/v1/connect/ca/roots", status: 200 },
  },
  {
    name: "health",
    forbidden: ["ca", "catalog", "dns", "health", "operator"].map((role) => ({
      role,
      path: "/internal/v1/checks",
      headers: WEBSOCKET,
    })),
    allowed: { role: "operator", path: "/healthz", status: 200 },
  },
];

async function isMutualOnly(port: number): Promise<void> {
  await expect(askAs(port, undefined, { path: "/healthz" })).rejects.toThrow(
    /certificate required|ECONNRESET|socket hang up|alert/,
  );
  await expect(askAs(port, "agent", { path: "/healthz", dir: OTHER })).rejects.toThrow(
    /unknown ca|ECONNRESET|socket hang up|alert/i,
  );
  expect(await exchange(port, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")).not.toMatch(/HTTP\/1\.1 200/);
}

describe.each(SERVED)("$name off loopback", ({ name, forbidden, allowed }) => {
  let daemon: Daemon;
  beforeAll(async () => {
    const more = name === "ca" ? [NO_CATALOG] : [];
    daemon = await serve(name, await freePort(), "-host=0.0.0.0", ...files(name), ...more);
  });

  test("serves whoever has a certificate of its CA, and nobody else", async () => {
    const answer = await askAs(daemon.port, allowed.role, allowed);
    expect([answer.status, answer.text]).toEqual([allowed.status, expect.any(String)]);
    await isMutualOnly(daemon.port);
  });

  test("a certificate of the wrong role is refused with 403 and the reason", async () => {
    for (const attempt of forbidden) {
      const { status, text } = await askAs(daemon.port, attempt.role, {
        body: attempt.method?.startsWith("P") ? "{}" : undefined,
        ...attempt,
      });
      expect([attempt, status, text]).toEqual([
        attempt,
        403,
        expect.stringContaining(`a caller with role '${attempt.role}' may not`),
      ]);
    }
  });

  test("no old protocol, no weak cipher, no session resumed", async () => {
    const identity = [
      "-connect",
      `127.0.0.1:${daemon.port}`,
      "-CAfile",
      `${DIR}/heddle-ca.pem`,
      "-cert",
      `${DIR}/dc1-agent.pem`,
      "-key",
      `${DIR}/dc1-agent-key.pem`,
    ];
    const client = async (...argv: string[]) => {
      const { stdout, stderr } = await exec("sh", [
        "-c",
        'sleep 0.3 | timeout 5 openssl s_client "$@" || true',
        "sh",
        ...identity,
        ...argv,
      ]);
      return stdout + stderr;
    };
    const refused = await Promise.all([
      client("-tls1", "-cipher", "ALL:@SECLEVEL=0"),
      client("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
      client("-tls1_2", "-cipher", "AES128-SHA:ECDHE-ECDSA-AES128-SHA:DES-CBC3-SHA:@SECLEVEL=0"),
    ]);
    for (const text of refused) expect(text).toMatch(/Cipher is \(NONE\)/);
    // OpenSSL hands out tickets in TLS 1.3 whatever it is told; what counts is that none is taken back.
    await Promise.all(
      ["-tls1_2", "-tls1_3"].map(async (version) => {
        const session = join(tempDir(), "session");
        expect(await client(version, "-sess_out", session)).toMatch(/Verify return code: 0/);
        const again = await client(version, ...(existsSync(session) ? ["-sess_in", session] : []));
        expect(again).toMatch(/Verify return code: 0/);
        expect(again).not.toMatch(/^Reused, /m);
      }),
    );
    expect(await client("-tls1_2")).toContain("Secure Renegotiation IS supported");
    await makeEarlyDataSession();
    expect(await earlyDataAt(daemon.port, ...identity.slice(2))).toMatch(/^New, TLSv1.3[^]*Early data was rejected/m);
  });
});

test("an agent gets certificates for what the catalog has on its node, and for nothing else", async () => {
  const node = heddle(["tls", "cert", "create", "-client", "-node=n1", "-dir", DIR]);
  expect(await node.exited).toEqual([0, null]);
  const alone = heddle(["serve", "ca", "-port=0", ...files("ca")]);
  expect(await alone.exited).toEqual([1, null]);
  expect(alone.output()).toContain("-catalog-url is missing");

  const ports = { catalog: await freePort(), ca: await freePort() };
  const url = (name: "catalog" | "ca") => `https://127.0.0.1:${ports[name]}`;
  const catalog = await serve("catalog", ports.catalog, ...files("catalog"), `-ca-url=${url("ca")}`);
  const ca = await serve("ca", ports.ca, ...files("ca"), `-catalog-url=${url("catalog")}`);
  const { TrustDomain } = (await askAs(ca.port, "agent", { path: "/v1/connect/ca/roots" })).json<{
    TrustDomain: string;
  }>();
  const register = (service: string, proxyOf = "") =>
    askAs(catalog.port, "agent-n1", {
      method: "PUT",
      path: "/v1/catalog/register",
      body: JSON.stringify({
        ...{ Node: "n1", Address: "127.0.0.1" },
        Service: {
          Service: service,
          ...(proxyOf && { Kind: "connect-proxy", Port: 1, Proxy: { DestinationServiceName: proxyOf } }),
        },
      }),
    });
  expect((await register("web")).text).toBe("true");
  expect((await register("db-proxy", "db")).text).toBe("true");
  const sign = async (role: string, service: string) => {
    const csr = createCsr({ key: generateKey(), spiffeId: `spiffe://${TrustDomain}/ns/default/dc/dc1/svc/${service}` });
    const body = JSON.stringify({ csr });
    const { status, text } = await askAs(ca.port, role, { method: "POST", path: "/internal/v1/ca/sign", body });
    return `${status} ${status === 200 ? "" : text}`;
  };
  expect(await sign("agent-n1", "web")).toBe("200 ");
  expect(await sign("agent-n1", "db")).toBe("200 ");
  expect(await sign("agent-n1", "api")).toMatch(/^403 .*no service 'api' is registered on node 'n1'/);
  expect(await sign("agent", "web")).toMatch(/^403 .*names no node/);
  expect(ca.output()).toMatch(/refused to sign a certificate: .*caller="agent of node 'n1' at /);
  // While the catalog is away, what it has said before holds, and nothing else.
  expect(await catalog.end()).toEqual([0, null]);
  expect(await sign("agent-n1", "web")).toBe("200 ");
  expect(await sign("agent-n1", "api")).toMatch(/^503 .*cannot ask the catalog whether 'api' runs on node 'n1'/);
  expect(await ca.end()).toEqual([0, null]);
});

test("a composition asks for the same roles on its internal listener, and without certificates makes its own", async () => {
  const [http, internal] = [await freePort(), await freePort()];
  const config = join(tempDir(), "tls.json");
  writeFileSync(
    config,
    JSON.stringify({
      ca_file: `${DIR}/heddle-ca.pem`,
      cert_file: `${DIR}/dc1-catalog.pem`,
      key_file: `${DIR}/dc1-catalog-key.pem`,
    }),
  );
  const argv = (server: number, port: number, ...more: string[]) => [
    "agent",
    "-server",
    "-bootstrap-expect=1",
    `-data-dir=${tempDir()}`,
    "-bind=0.0.0.0",
    "-advertise=127.0.0.1",
    "-dns-port=-1",
    `-http-port=${port}`,
    `-server-port=${server}`,
    ...more,
  ];
  const agent = heddle(argv(internal, http, `-config-file=${config}`));
  await agent.saw("Heddle agent running!");
  await until(
    () => askAs(internal, "dns", { path: "/v1/catalog/nodes" }),
    ({ status }) => status === 200,
  );
  await isMutualOnly(internal);
  for (const attempt of [
    { role: "dns", method: "PUT", path: "/v1/kv/a" },
    { role: "dns", method: "POST", path: "/internal/v1/ca/sign" },
    { role: "health", path: "/v1/stream", headers: WEBSOCKET },
    { role: "dns", path: "/internal/v1/checks", headers: WEBSOCKET },
  ]) {
    const { status, text } = await askAs(internal, attempt.role, {
      body: attempt.method ? "{}" : undefined,
      ...attempt,
    });
    expect([attempt, status, text]).toEqual([
      attempt,
      403,
      expect.stringContaining(`a caller with role '${attempt.role}' may not`),
    ]);
  }
  await agent.end();
  const [plainHttp, plainInternal] = [await freePort(), await freePort()];
  const plain = heddle(argv(plainInternal, plainHttp));
  await plain.saw("Heddle agent running!");
  const { stdout } = await exec("ss", ["-Hltn", `sport = :${plainInternal}`]);
  expect(stdout).toContain(`0.0.0.0:${plainInternal}`);
  // Its own CA made its certificate; callers without one come to joining, and to nothing else.
  const asStranger = (path: string) => exec("curl", ["-sk", `https://127.0.0.1:${plainInternal}${path}`]);
  expect((await asStranger("/v1/kv/a")).stdout).toMatch(/^want a certificate of this mesh/);
  expect((await asStranger("/internal/v1/join/roots")).stdout).toContain("BEGIN CERTIFICATE");
  await expect(exec("curl", ["-sf", `http://127.0.0.1:${plainInternal}/v1/kv/a`])).rejects.toThrow();
  expect(await plain.end()).toEqual([0, null]);
});
