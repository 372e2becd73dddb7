import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { Agent, createServer, request, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { IdentityError } from "@heddle/spiffe";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createInternalCa,
  createInternalCertificate,
  internalClientOptions,
  internalServerOptions,
  peerDaemon,
  peerRole,
  type InternalRole,
  type KeyAndCertificate,
} from "./index.ts";
import { createTestMesh } from "./testing.ts";

let ca: KeyAndCertificate;
const dir = mkdtempSync(join(tmpdir(), "heddle-internal-"));
const servers: Server[] = [];
beforeAll(async () => {
  ca = await createInternalCa({ trustDomain: "mine.heddle" });
});
afterAll(() => {
  for (const server of servers) server.close();
  rmSync(dir, { recursive: true });
});

const identity = (role: InternalRole, dc = "dc1") => ({
  ...createInternalCertificate({ ca, role, dc }),
  roots: [ca.certPem],
});

async function startServer(role: InternalRole): Promise<number> {
  const server = createServer(internalServerOptions(identity(role)), (req, res) => {
    const socket = req.socket as TLSSocket;
    res.end(JSON.stringify({ role: peerRole(socket), dc: peerDaemon(socket)?.datacenter }));
  });
  server.on("tlsClientError", () => {});
  servers.push(server.listen(0, "127.0.0.1"));
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

async function ask(port: number, agent: Agent, host = "127.0.0.1"): Promise<unknown> {
  const req = request({
    host,
    port,
    agent,
    lookup: (_h, _o, cb) => cb(null, [{ address: "127.0.0.1", family: 4 }]),
  }).end();
  const [res] = (await once(req, "response")) as [IncomingMessage];
  const parts = await res.toArray();
  return JSON.parse(Buffer.concat(parts as Buffer[]).toString());
}
const agentFor = (role: InternalRole, serverRoles: InternalRole[]) =>
  new Agent({ ...internalClientOptions({ ...identity(role), serverRoles }) });

describe("an internal certificate", () => {
  it("passes openssl's strict verifier for its names and both purposes", () => {
    const cert = createInternalCertificate({
      ca,
      role: "catalog",
      dc: "dc1",
      dnsNames: ["catalog.example"],
      ips: ["10.1.2.3", "fd00::1:2"],
    });
    writeFileSync(join(dir, "ca.pem"), ca.certPem);
    writeFileSync(join(dir, "cert.pem"), cert.certPem);
    const verify = (...args: string[]) =>
      execFileSync(
        "openssl",
        ["verify", "-x509_strict", "-CAfile", join(dir, "ca.pem"), ...args, join(dir, "cert.pem")],
        { encoding: "utf8" },
      );
    for (const name of ["catalog.dc1.consul", "localhost", "catalog.example"])
      expect(verify("-verify_hostname", name)).toContain("OK");
    for (const ip of ["127.0.0.1", "::1", "10.1.2.3", "fd00::1:2"]) expect(verify("-verify_ip", ip)).toContain("OK");
    for (const purpose of ["sslclient", "sslserver"]) expect(verify("-purpose", purpose)).toContain("OK");
    const text = execFileSync("openssl", ["x509", "-in", join(dir, "cert.pem"), "-noout", "-ext", "subjectAltName"], {
      encoding: "utf8",
    });
    expect(text).toContain("URI:spiffe://mine.heddle/heddle/dc/dc1/role/catalog");
  });

  it.each([
    ["an unknown role", { role: "root" as InternalRole }],
    ["a datacenter with a slash", { dc: "a/b" }],
    ["a bad DNS name", { dnsNames: ["a b"] }],
    ["a wildcard", { dnsNames: ["*.consul"] }],
    ["a bad IP address", { ips: ["1.2.3"] }],
    ["an IP address with a zone", { ips: ["fe80::1%eth0"] }],
  ])("is not made for %s", (_name, options) => {
    expect(() => createInternalCertificate({ ca, role: "catalog", dc: "dc1", ...options })).toThrow(IdentityError);
  });
});

describe("the internal API over mutual TLS", () => {
  it("tells the server which daemon calls", async () => {
    const port = await startServer("catalog");
    expect(await ask(port, agentFor("agent", ["catalog"]))).toEqual({ role: "agent", dc: "dc1" });
    expect(await ask(port, agentFor("health", ["catalog"]), "catalog.dc1.consul")).toEqual({
      role: "health",
      dc: "dc1",
    });
  });

  it("is refused where the server has another role, though our CA signed it", async () => {
    const port = await startServer("agent");
    await expect(ask(port, agentFor("health", ["catalog", "ca"]))).rejects.toThrow(
      "expected a daemon with role catalog or ca, but 'spiffe://mine.heddle/heddle/dc/dc1/role/agent' was presented",
    );
  });

  it("is refused where the server has another name", async () => {
    const port = await startServer("catalog");
    await expect(ask(port, agentFor("agent", ["catalog"]), "ca.dc1.consul")).rejects.toThrow(
      /does not match certificate's altnames/,
    );
  });

  it("is refused without a certificate, and with one of another CA or of the mesh", async () => {
    const port = await startServer("catalog");
    await expect(ask(port, new Agent({ ca: ca.certPem }))).rejects.toThrow();
    const other = await createInternalCa();
    const foreign = { ...createInternalCertificate({ ca: other, role: "agent", dc: "dc1" }), roots: [ca.certPem] };
    await expect(
      ask(port, new Agent(internalClientOptions({ ...foreign, serverRoles: ["catalog"] }))),
    ).rejects.toThrow();
    const mesh = await createTestMesh();
    const service = { ...mesh.identity("web"), roots: [ca.certPem] };
    await expect(
      ask(port, new Agent(internalClientOptions({ ...service, serverRoles: ["catalog"] }))),
    ).rejects.toThrow();
  });

  it("never resumes a session", async () => {
    const port = await startServer("catalog");
    const agent = new Agent({
      ...internalClientOptions({ ...identity("agent"), serverRoles: ["catalog"] }),
      keepAlive: false,
    });
    for (let i = 0; i < 3; i++) {
      const req = request({ host: "127.0.0.1", port, agent }).end();
      const [socket] = (await once(req, "socket")) as [TLSSocket];
      const [res] = (await once(req, "response")) as [IncomingMessage];
      await res.resume().toArray();
      expect(socket.isSessionReused()).toBe(false);
    }
  });
});
