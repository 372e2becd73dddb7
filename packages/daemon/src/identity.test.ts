import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, get } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { createInternalCa, createInternalCertificate, internalClientOptions } from "@heddle/tls";
import { expect, onTestFinished, test } from "vitest";
import { followIdentityFiles } from "./identity.ts";
import { startInternalServer } from "./internal-server.ts";
import { createLogHub, silentLog } from "./log.ts";

test("certificates that are replaced in their files are used from then on, and broken ones are not", async () => {
  const dir = mkdtempSync(join(tmpdir(), "heddle-identity-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const files = { caFile: join(dir, "ca.pem"), certFile: join(dir, "cert.pem"), keyFile: join(dir, "key.pem") };
  const ca = await createInternalCa();
  const make = (days: number) => createInternalCertificate({ ca, role: "ca", dc: "dc1", days });
  const write = ({ certPem, keyPem }: { certPem: string; keyPem: string }) => {
    writeFileSync(files.keyFile, keyPem);
    writeFileSync(files.certFile, certPem);
  };
  writeFileSync(files.caFile, ca.certPem);
  const [first, second, third] = [make(100), make(200), make(300)];
  write(first);
  let text = "";
  const { log } = createLogHub({ level: "info", json: false, write: (line) => void (text += line) });
  const identity = followIdentityFiles(files, log);
  onTestFinished(() => identity?.[Symbol.dispose]());
  const server = await startInternalServer({ host: "127.0.0.1", port: 0, identity, parts: [], log: silentLog });
  onTestFinished(() => server.close());

  const client = { ...createInternalCertificate({ ca, role: "agent", dc: "dc1" }), roots: [ca.certPem] };
  const presented = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const agent = new Agent({ ...internalClientOptions({ ...client, serverRoles: ["ca"] }), keepAlive: false });
      get({ host: "127.0.0.1", port: server.port, agent }, (res) => {
        resolve((res.socket as TLSSocket).getPeerX509Certificate()?.toString() ?? "");
        res.resume();
      }).on("error", reject);
    });
  expect(await presented()).toBe(first.certPem);
  write(second);
  await expect.poll(presented).toBe(second.certPem);

  writeFileSync(files.keyFile, third.keyPem);
  await expect.poll(() => text).toContain("is not that of the certificate");
  expect(await presented()).toBe(second.certPem);
  write(third);
  await expect.poll(presented).toBe(third.certPem);
});

test("a certificate that is none, or is another key's, is refused at start with its file", () => {
  const dir = mkdtempSync(join(tmpdir(), "heddle-identity-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const file = join(dir, "x.pem");
  writeFileSync(file, "no certificate");
  const files = { caFile: file, certFile: file, keyFile: file };
  expect(() => followIdentityFiles(files, silentLog)).toThrow(`want certificates and a key as PEM in ${file}`);
  expect(followIdentityFiles({ caFile: "", certFile: "", keyFile: "" }, silentLog)).toBeUndefined();
});
