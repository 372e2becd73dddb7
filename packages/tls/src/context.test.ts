import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo, Socket } from "node:net";
import { connect as connectTcp } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, createServer, type ConnectionOptions, type Server, type TLSSocket } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { uriName } from "./extensions.ts";
import {
  checkPeer,
  createMeshClient,
  endFailedHandshakes,
  meshServerOptions,
  swapServerIdentity,
  type MeshTlsOptions,
  type PeerCheck,
  type TlsIdentity,
} from "./index.ts";
import { badClientCertificates, createTestMesh, forgeLeaf, type TestMesh } from "./testing.ts";

let mesh: TestMesh;
const dir = mkdtempSync(join(tmpdir(), "heddle-context-"));
beforeAll(async () => {
  mesh = await createTestMesh();
});
afterAll(() => rmSync(dir, { recursive: true }));

interface Echo {
  server: Server;
  port: number;
  /** Bytes that got past the peer check. */
  received: () => number;
  checks: PeerCheck[];
}
const open: (Server | Socket)[] = [];
afterEach(() => {
  for (const one of open.splice(0)) {
    if ("listen" in one) one.close();
    else one.destroy();
  }
});

/** What a proxy's public listener does: check the caller, then pass bytes on. */
async function startEcho(identity: TlsIdentity, options?: MeshTlsOptions): Promise<Echo> {
  let received = 0;
  const checks: PeerCheck[] = [];
  const server = createServer(meshServerOptions(identity, options), (socket) => {
    socket.on("error", () => {});
    const check = checkPeer(socket, { kind: "caller", trustDomain: mesh.trustDomain });
    checks.push(check);
    if (!check.ok) return void socket.destroy();
    socket.on("data", (bytes) => {
      received += bytes.length;
      socket.write(bytes);
    });
  });
  endFailedHandshakes(server);
  server.on("connection", (socket: Socket) => {
    open.push(socket);
    socket.on("error", () => {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  open.push(server);
  return { server, port: (server.address() as AddressInfo).port, received: () => received, checks };
}

/** Connects, sends 4 bytes, and tells what came back before the connection ended. */
function talk(
  port: number,
  options: ConnectionOptions,
): Promise<{ answer: string; socket: TLSSocket; error?: string }> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, ...options });
    let error: string | undefined;
    open.push(socket);
    socket.on("secureConnect", () => socket.write("ping"));
    socket.on("data", (bytes) => resolve({ answer: bytes.toString(), socket }));
    socket.on("error", (e) => (error = e.message));
    socket.on("close", () => resolve({ answer: "", socket, ...(error !== undefined && { error }) }));
  });
}

const clientOf = (identity: TlsIdentity) => createMeshClient(identity).options();

/** Runs openssl s_client; resolves with its output once it ends. */
async function sClient(port: number, args: string[], input = ""): Promise<string> {
  const { certPem, keyPem } = mesh.identity("web");
  writeFileSync(join(dir, "web.pem"), certPem + keyPem);
  writeFileSync(join(dir, "root.pem"), mesh.root.certPem);
  const child = spawn("openssl", [
    "s_client",
    "-connect",
    `127.0.0.1:${port}`,
    "-cert",
    join(dir, "web.pem"),
    "-key",
    join(dir, "web.pem"),
    "-CAfile",
    join(dir, "root.pem"),
    ...args,
  ]);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (bytes: Buffer) => (output += bytes.toString()));
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  await once(child, "close");
  return output;
}

describe("a mesh connection", () => {
  it("is TLS 1.3 with a post-quantum hybrid group, and both ends know the other", async () => {
    const echo = await startEcho(mesh.identity("db"));
    const { answer, socket } = await talk(echo.port, clientOf(mesh.identity("web")));
    expect(answer).toBe("ping");
    expect(socket.getProtocol()).toBe("TLSv1.3");
    expect(checkPeer(socket, { kind: "server", spiffeId: mesh.spiffeId("db") }).ok).toBe(true);
    expect(echo.checks).toMatchObject([{ ok: true, spiffeId: mesh.spiffeId("web") }]);
    expect(await sClient(echo.port, ["-brief"])).toMatch(/Protocol version: TLSv1\.3/);
    expect(socket.getEphemeralKeyInfo()).toMatchObject(expect.anything() as object);
  });

  it("works with TLS 1.2 and openssl", async () => {
    const echo = await startEcho(mesh.identity("db"));
    const text = await sClient(echo.port, ["-tls1_2", "-verify_return_error", "-brief"]);
    expect(text).toContain("Protocol version: TLSv1.2");
    expect(text).toMatch(/Ciphersuite: ECDHE-ECDSA-.*(?:GCM|POLY1305)/);
    expect(text).toContain("Verification: OK");
  });

  it("lets no bad client certificate deliver a byte", async () => {
    const echo = await startEcho(mesh.identity("db"));
    for (const { name, identity, refusedBy } of await badClientCertificates(mesh)) {
      const before = echo.checks.length;
      const { answer } = await talk(echo.port, clientOf({ ...identity, roots: [mesh.root.certPem] }));
      expect([name, answer]).toEqual([name, ""]);
      const check = echo.checks[before];
      if (refusedBy === "rules") expect([name, check]).toMatchObject([name, { ok: false }]);
      else expect([name, check]).toEqual([name, undefined]);
    }
    expect(echo.received()).toBe(0);
    expect((await talk(echo.port, clientOf(mesh.identity("web")))).answer).toBe("ping");
  });

  it("needs a client certificate", async () => {
    const echo = await startEcho(mesh.identity("db"));
    const { answer } = await talk(echo.port, { ca: mesh.root.certPem, checkServerIdentity: () => undefined });
    expect(answer).toBe("");
    expect(echo.received()).toBe(0);
  });

  it.each<[string, (db: string) => string]>([
    ["another service", (db) => db.replace("/svc/db", "/svc/evil")],
    ["the same one of another datacenter", (db) => db.replace("/dc/dc1/", "/dc/dc2/")],
    ["the same one of another namespace", (db) => db.replace("/ns/default/", "/ns/other/")],
    ["the same one of another trust domain", (db) => db.replace("//1", "//2")],
  ])("is refused by a client whose server is %s, before the client writes", async (_what, other) => {
    const db = mesh.spiffeId("db");
    const presented = other(db);
    expect(presented).not.toBe(db);
    const echo = await startEcho(forgeLeaf(mesh, { names: [uriName(presented)] }));
    const socket = connect({ host: "127.0.0.1", port: echo.port, ...clientOf(mesh.identity("web")) });
    open.push(socket);
    await once(socket, "secureConnect");
    const check = checkPeer(socket, { kind: "server", spiffeId: db });
    expect(check).toEqual({ ok: false, reason: `expected '${db}', but '${presented}' was presented` });
    expect(echo.received()).toBe(0);
  });

  it("is refused by a client whose server's chain leads elsewhere", async () => {
    const other = await createTestMesh();
    const echo = await startEcho({ ...forgeLeaf(other), roots: [mesh.root.certPem] });
    const { answer, error } = await talk(echo.port, clientOf(mesh.identity("web")));
    expect(answer).toBe("");
    expect(error).toMatch(/unable to verify|self-signed|signature/i);
  });

  it("trusts nobody while it has no roots", async () => {
    const echo = await startEcho({ ...mesh.identity("db"), roots: [] });
    expect((await talk(echo.port, clientOf(mesh.identity("web")))).answer).toBe("");
    const other = await startEcho(mesh.identity("db"));
    expect((await talk(other.port, clientOf({ ...mesh.identity("web"), roots: [] }))).answer).toBe("");
    expect(echo.received() + other.received()).toBe(0);
  });

  it.each([
    ["TLS 1.0", ["-tls1", "-cipher", "ALL:@SECLEVEL=0"]],
    ["TLS 1.1", ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"]],
    ["CBC ciphers", ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384"]],
    ["key exchange without forward secrecy", ["-tls1_2", "-cipher", "kRSA"]],
  ])("refuses %s", async (_name, args) => {
    const echo = await startEcho(mesh.identity("db"));
    expect(await sClient(echo.port, args)).toMatch(/alert|no cipher match|no protocols available|Cipher is \(NONE\)/);
    expect(echo.checks).toEqual([]);
  });

  it("is never resumed, with TLS 1.2 or 1.3, though the client tries", async () => {
    const identity = mesh.identity("db");
    const echo = await startEcho(identity);
    // The control: the same clients do resume where the server lets them.
    const lax = createServer({ ...meshServerOptions(identity), secureOptions: 0, sessionTimeout: 300 }, (socket) => {
      socket.on("error", () => {}).pipe(socket);
    });
    open.push(lax.listen(0, "127.0.0.1"));
    await once(lax, "listening");
    const reused = async (port: number, maxVersion: "TLSv1.2" | "TLSv1.3"): Promise<boolean> => {
      const { secureContext: _ours, ...checks } = clientOf(mesh.identity("web"));
      const { certPem: cert, keyPem: key } = mesh.identity("web");
      const options = { ...checks, cert, key, ca: mesh.root.certPem, maxVersion };
      const sessions: Buffer[] = [];
      const first = connect({ host: "127.0.0.1", port, ...options });
      open.push(first);
      first.on("session", (session) => sessions.push(session));
      first.on("secureConnect", () => first.write("ping"));
      await once(first, "data");
      const session = sessions.at(-1) ?? first.getSession();
      const { socket } = await talk(port, { ...options, ...(session && { session }) });
      return socket.isSessionReused();
    };
    for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
      expect(await reused((lax.address() as AddressInfo).port, version)).toBe(true);
      expect(await reused(echo.port, version)).toBe(false);
    }
    expect(echo.checks.length).toBe(4);
    expect(echo.checks.every((check) => check.ok)).toBe(true);
    expect(await sClient(echo.port, ["-tls1_2", "-reconnect"])).not.toContain("Reused,");
  });

  it("refuses renegotiation", async () => {
    const echo = await startEcho(mesh.identity("db"));
    expect(await sClient(echo.port, ["-tls1_2"], "R\n")).toMatch(
      /no renegotiation|RENEGOTIATING[\s\S]*(?:alert|error|unexpected)/i,
    );
  });

  it("drops who does not finish the handshake", async () => {
    const echo = await startEcho(mesh.identity("db"), { handshakeTimeoutMs: 150 });
    const socket = connectTcp(echo.port, "127.0.0.1");
    open.push(socket);
    socket.on("error", () => {}).resume();
    const started = performance.now();
    await once(socket, "close");
    expect(performance.now() - started).toBeLessThan(3_000);
  });

  it("agrees on a protocol where the client offers it, and never fails for another", async () => {
    const echo = await startEcho(mesh.identity("db"), { alpn: ["heddle/2", "heddle/1"] });
    const agreed = async (port: number, offered?: string[]) =>
      (await talk(port, { ...clientOf(mesh.identity("web")), ...(offered && { ALPNProtocols: offered }) })).socket
        .alpnProtocol;
    expect(await agreed(echo.port, ["h2", "heddle/1"])).toBe("heddle/1");
    expect(await agreed(echo.port, ["heddle/1", "heddle/2"])).toBe("heddle/2");
    expect(await agreed(echo.port, ["h2", "http/1.1"])).toBe("h2");
    expect(await agreed(echo.port)).toBe(false);
    expect(await agreed((await startEcho(mesh.identity("db"))).port, ["heddle/1"])).toBe(false);
  });
});

describe("a swap of certificates", () => {
  it("leaves open connections alone and holds for new ones, on both ends", async () => {
    const next = await createTestMesh({ trustDomain: mesh.trustDomain });
    const echo = await startEcho(mesh.identity("db"));
    const client = createMeshClient(mesh.identity("web"));
    const { socket: old } = await talk(echo.port, client.options());
    const both = [mesh.root.certPem, next.root.certPem];
    swapServerIdentity(echo.server, { ...next.identity("db"), roots: both });

    expect((await talk(echo.port, client.options())).answer).toBe("");
    client.swap({ ...mesh.identity("web"), roots: both });
    const { answer, socket } = await talk(echo.port, client.options());
    expect(answer).toBe("ping");
    expect(socket.getPeerX509Certificate()?.issuer).not.toBe(old.getPeerX509Certificate()?.issuer);

    // Only the new root now: the old leaf is refused, the old connection lives on.
    swapServerIdentity(echo.server, next.identity("db"));
    expect((await talk(echo.port, client.options())).answer).toBe("");
    client.swap(next.identity("web"));
    expect((await talk(echo.port, client.options())).answer).toBe("ping");
    old.write("still here");
    expect(((await once(old, "data")) as [Buffer])[0].toString()).toBe("still here");
  });
});
