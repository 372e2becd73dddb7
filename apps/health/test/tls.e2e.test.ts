import { silentLog } from "@heddle/daemon";
import { createInternalCa, createInternalCertificate, type InternalRole } from "@heddle/tls";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadConfig, start } from "../src/index.ts";
import { connectAgent, tcpServer } from "../src/testing.ts";

const startHealth = (...argv: string[]) =>
  start(loadConfig({ argv: ["-port=0", ...argv], env: {}, readFile: () => "" }), { log: silentLog });

describe("mutual TLS", async () => {
  const ca = await createInternalCa();
  const identity = (role: InternalRole) => createInternalCertificate({ ca, role, dc: "dc1" });
  const dir = mkdtempSync(join(tmpdir(), "heddle-health-tls-"));
  const own = identity("health");
  for (const [name, text] of Object.entries({ "ca.pem": ca.certPem, "cert.pem": own.certPem, "key.pem": own.keyPem }))
    writeFileSync(join(dir, name), text, { mode: 0o600 });
  const files = ["-ca-file", "-cert-file", "-key-file"].map(
    (flag) => `${flag}=${join(dir, `${flag.slice(1, -5)}.pem`)}`,
  );
  const as = (role: InternalRole) => {
    const { certPem, keyPem } = identity(role);
    return { ca: ca.certPem, cert: certPem, key: keyPem };
  };

  test("an agent may sync, scripts included", async () => {
    await using health = await startHealth("-host=0.0.0.0", "-enable-script-checks", ...files);
    await using server = await tcpServer();
    await using agent = await connectAgent(health.url, as("agent"));
    agent.sync([
      { CheckID: "t", TCP: server.address, IntervalMs: 1_000 },
      { CheckID: "s", Args: ["/bin/echo", "ok"], IntervalMs: 1_000 },
    ]);
    expect(await agent.result("t")).toMatchObject({ status: "passing" });
    expect(await agent.result("s")).toMatchObject({ status: "passing", output: "ok\n" });
  });

  test.each(["catalog", "dns", "ca", "health", "operator"] as const)("%s may not", async (role) => {
    await using health = await startHealth(...files);
    await expect(connectAgent(health.url, as(role))).rejects.toThrow(
      `403 a caller with role '${role}' may not GET /internal/v1/checks: want agent`,
    );
  });

  test("nobody without a certificate, or with one of another CA", async () => {
    await using health = await startHealth(...files);
    await expect(connectAgent(health.url, { ca: ca.certPem })).rejects.toThrow();
    const other = createInternalCertificate({ ca: await createInternalCa(), role: "agent", dc: "dc1" });
    await expect(
      connectAgent(health.url, { ca: ca.certPem, cert: other.certPem, key: other.keyPem }),
    ).rejects.toThrow();
  });
});

test("plain text off loopback is refused at start, and says what to do", async () => {
  await expect(startHealth("-host=0.0.0.0")).rejects.toThrow(
    /refusing to serve the internal API in plain text on 0\.0\.0\.0: give -ca-file/,
  );
});
