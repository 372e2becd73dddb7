import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "@heddle/daemon";
import {
  createCsr,
  createInternalCa,
  createInternalCertificate,
  generateKey,
  internalClientOptions,
  type InternalRole,
  type KeyAndCertificate,
} from "@heddle/tls";
import { createTestMesh } from "@heddle/tls/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadConfig, start } from "../src/index.ts";

const dir = mkdtempSync(join(tmpdir(), "heddle-roles-"));
let internal: KeyAndCertificate;
let files: { caFile: string; certFile: string; keyFile: string };
beforeAll(async () => {
  internal = await createInternalCa();
  const own = createInternalCertificate({ ca: internal, role: "ca", dc: "dc1" });
  files = { caFile: join(dir, "ca.pem"), certFile: join(dir, "cert.pem"), keyFile: join(dir, "key.pem") };
  writeFileSync(files.caFile, internal.certPem);
  writeFileSync(files.certFile, own.certPem);
  writeFileSync(files.keyFile, own.keyPem);
});
afterAll(() => rmSync(dir, { recursive: true }));

const config = (more: object) => ({
  ...loadConfig({ argv: [], env: {}, readFile: () => "" }),
  port: 0,
  catalogUrl: "https://127.0.0.1:1",
  ...more,
});

async function ask(
  url: string,
  role: InternalRole | "stranger",
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; text: string }> {
  const identity =
    role === "stranger"
      ? { ...(await createTestMesh()).identity("web"), roots: [internal.certPem] }
      : { ...createInternalCertificate({ ca: internal, role, dc: "dc1" }), roots: [internal.certPem] };
  const agent = new Agent(internalClientOptions({ ...identity, serverRoles: ["ca"] }));
  const req = request(url + path, { method, agent });
  req.end(body === undefined ? undefined : JSON.stringify(body));
  const [res] = (await once(req, "response")) as [IncomingMessage];
  return { status: res.statusCode ?? 0, text: Buffer.concat((await res.toArray()) as Buffer[]).toString() };
}

describe("over mutual TLS", () => {
  it("a server may have leaves signed, an agent for its node, and nobody else", async () => {
    await using ca = await start(config(files), { log: silentLog });
    const { TrustDomain } = JSON.parse((await ask(ca.url, "agent", "GET", "/v1/connect/ca/roots")).text) as {
      TrustDomain: string;
    };
    const csr = createCsr({ key: generateKey(), spiffeId: `spiffe://${TrustDomain}/ns/default/dc/dc1/svc/web` });
    expect((await ask(ca.url, "server", "POST", "/internal/v1/ca/sign", { csr })).status).toBe(200);
    const ofNoNode = await ask(ca.url, "agent", "POST", "/internal/v1/ca/sign", { csr });
    expect([ofNoNode.status, ofNoNode.text]).toEqual([403, expect.stringContaining("names no node")]);
    for (const role of ["catalog", "health", "dns", "operator", "ca"] as const) {
      const answer = await ask(ca.url, role, "POST", "/internal/v1/ca/sign", { csr });
      expect([role, answer.status]).toEqual([role, 403]);
      expect(answer.text).toContain(`a caller with role '${role}' may not POST /internal/v1/ca/sign: want agent`);
    }
  });

  it("servers and operators may change the configuration, the other daemons read", async () => {
    await using ca = await start(config(files), { log: silentLog });
    const put = (role: InternalRole) =>
      ask(ca.url, role, "PUT", "/v1/connect/ca/configuration", { Provider: "consul", Config: {} });
    expect((await put("operator")).status).toBe(200);
    expect((await put("server")).status).toBe(200);
    expect((await put("agent")).status).toBe(403);
    expect((await put("health")).status).toBe(403);
    expect((await ask(ca.url, "health", "GET", "/v1/connect/ca/roots")).status).toBe(200);
  });

  it("a certificate of the mesh gets nowhere", async () => {
    await using ca = await start(config(files), { log: silentLog });
    await expect(ask(ca.url, "stranger", "GET", "/v1/connect/ca/roots")).rejects.toThrow();
  });

  it("is what anything but loopback needs", async () => {
    await expect(start(config({ host: "0.0.0.0" }), { log: silentLog })).rejects.toThrow(
      "refusing to serve the internal API in plain text on 0.0.0.0",
    );
  });
});
