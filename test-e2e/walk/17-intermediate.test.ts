/** Beyond the walk: an intermediate signs for a root whose key is elsewhere, and Consul's own proxy follows its chains. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { needsConsul } from "../support/consul.ts";
import { comesTo, startMesh } from "../support/mesh.ts";
import { start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

test("a root that openssl keeps takes over from ours, without a refused connection, and Consul's proxy works on", async (ctx) => {
  needs(ctx, "socat", "nc", "curl", "openssl");
  const consul = needsConsul(ctx);
  const mesh = await startMesh({
    files: { "ca.json": { connect: { ca_config: { intermediate_signs: true, leaf_cert_ttl: "24h" } } } },
  });
  const { dir, ok, ports } = mesh;
  const theirs = start(consul, ["connect", "proxy", "-service=web2", `-upstream=socat:${ports.other}`], {
    env: { CONSUL_HTTP_ADDR: `127.0.0.1:${ports.http}` },
  });
  await theirs.printed("Proxy loaded config and ready to serve");
  for (const port of [ports.upstream, ports.other]) await comesTo(port, "echo");
  expect(await ok("connect", "ca", "status")).toMatch(/^Signer: +intermediate /m);
  const open = start("nc", ["localhost", String(ports.upstream)]);
  open.write("before\n");
  await open.printed("before\n");

  const openssl = (...args: string[]) => execFileSync("openssl", args, { cwd: dir, stdio: "pipe" });
  writeFileSync(join(dir, "mesh.csr"), await ok("connect", "ca", "csr"));
  const usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-keyout", "root.key"];
  openssl("req", "-x509", ...key, "-subj", "/CN=the safe's root", "-days", "3650", ...usage, "-out", "root.pem");
  const by = [
    "-CA",
    "root.pem",
    "-CAkey",
    "root.key",
    "-CAcreateserial",
    "-days",
    "365",
    "-copy_extensions",
    "copyall",
  ];
  openssl("x509", "-req", "-in", "mesh.csr", ...by, "-out", "mesh.pem");
  expect(await ok("connect", "ca", "set-intermediate", "-root=root.pem", "-cert=mesh.pem")).toBe(
    "The intermediate signs.\n",
  );
  expect(await ok("connect", "ca", "get-config")).toContain('"LeafCertTTL": "24h"');

  const status = () => ok("connect", "ca", "status");
  await expect.poll(status).toMatch(/ active +ec 384 +\S+ +3 /); // of socat, web and web2
  const presented = () => {
    const args = ["s_client", "-connect", `127.0.0.1:${ports.sidecar}`, "-x509_strict", "-CAfile", "root.pem"];
    return execFileSync("openssl", [...args, "-verify_return_error"], {
      cwd: dir,
      input: "",
      stdio: "pipe",
    }).toString();
  };
  await expect.poll(presented).toContain("Verify return code: 0 (ok)");
  for (const port of [ports.upstream, ports.other]) await comesTo(port, "echo");
  open.write("after\n");
  await open.printed("after\n");

  // The sidecar is Consul's now, too.
  await mesh.sidecar.stop();
  const sidecar = start(consul, ["connect", "proxy", "-sidecar-for=socat"], {
    env: { CONSUL_HTTP_ADDR: `127.0.0.1:${ports.http}` },
  });
  await sidecar.printed("Proxy loaded config and ready to serve");
  for (const port of [ports.upstream, ports.other]) await comesTo(port, "echo");
}, 90_000);
