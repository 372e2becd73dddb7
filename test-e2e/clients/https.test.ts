import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { generate } from "selfsigned";
import { expect, test } from "vitest";
import { makePlace, startAgent } from "../support/mesh.ts";
import { claimPorts } from "../support/ports.ts";
import { run } from "../support/process.ts";
import { needs } from "../support/tools.ts";

/** A certificate for 127.0.0.1 that signs itself, so that it is its own CA. */
async function certificate(dir: string, name: string) {
  const made = await generate([{ name: "commonName", value: name }], {
    keyType: "ec",
    extensions: [{ name: "subjectAltName", altNames: [{ type: 7, ip: "127.0.0.1" }] }],
  });
  const files = { cert: join(dir, `${name}.pem`), key: join(dir, `${name}-key.pem`) };
  writeFileSync(files.cert, made.cert);
  writeFileSync(files.key, made.private, { mode: 0o600 });
  return files;
}

test("the API over HTTPS: curl trusts the certificate that the file names, and the CLI too", async (ctx) => {
  needs(ctx, "curl");
  const place = await makePlace();
  const { port } = await claimPorts(["https"], 0);
  const { cert, key } = await certificate(place.dir, "agent");
  place.write("tls.json", { ports: { https: port.https }, tls: { https: { cert_file: cert, key_file: key } } });
  await startAgent(place);
  const url = `https://127.0.0.1:${port.https}`;
  const trusted = await run("curl", ["-sS", "--cacert", cert, `${url}/v1/status/leader`]);
  expect(trusted.out).toBe(`"127.0.0.1:${place.ports.server}"`);
  const untrusted = await run("curl", ["-sS", `${url}/v1/status/leader`]);
  expect(untrusted.status).toBe(60); // curl: peer certificate cannot be authenticated
  expect(await place.ok("catalog", "services", `-http-addr=${url}`, `-ca-file=${cert}`)).toContain("socat");
});

test("with verify_incoming only a client with a certificate of the CA gets in", async (ctx) => {
  needs(ctx, "curl");
  const place = await makePlace();
  const { port } = await claimPorts(["https"], 0);
  const agent = await certificate(place.dir, "agent");
  const client = await certificate(place.dir, "client");
  const https = { cert_file: agent.cert, key_file: agent.key, ca_file: client.cert, verify_incoming: true };
  place.write("tls.json", { ports: { https: port.https }, tls: { https } });
  await startAgent(place);
  const ask = (...more: string[]) =>
    run("curl", ["-sS", "--cacert", agent.cert, ...more, `https://127.0.0.1:${port.https}/v1/status/leader`]);
  expect((await ask()).status).not.toBe(0);
  expect((await ask("--cert", client.cert, "--key", client.key)).out).toBe(`"127.0.0.1:${place.ports.server}"`);
});

test("a port without its certificate is refused at start, naming the key", async () => {
  const place = await makePlace();
  const { port } = await claimPorts(["https"], 0);
  place.write("tls.json", { ports: { https: port.https } });
  const { status, err } = await place.heddle("agent", "-dev", "-config-dir=mesh.d");
  expect(status).toBe(1);
  expect(err).toContain("ports.https: needs a certificate: want cert_file and key_file");
});
