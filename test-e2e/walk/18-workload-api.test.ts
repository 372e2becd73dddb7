/** Beyond the walk: programs written for SPIFFE get their identities on a node, over gRPC, attested by the kernel. */
import { chmodSync, copyFileSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { type Agent, definition, makePlace, startAgent } from "../support/mesh.ts";
import { ROOT, start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

const CLIENT = join(import.meta.dirname, "../support/workload-client.mjs");
const PROTO = join(ROOT, "apps/agent/src/workload/workload.proto");
const OWN = process.getuid?.() ?? 0;
const isRoot = OWN === 0;
const [WEB_USER, OTHER_USER] = isRoot ? [61_001, 61_002] : [OWN, OWN];

/** Runs the client as a user; `setpriv` is util-linux's. */
function ask(uid: number, ...args: string[]) {
  const as = isRoot ? ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"] : [];
  const [program, ...rest] = [...as, process.execPath, CLIENT, ...args] as [string, ...string[]];
  return start(program, rest);
}

/** An agent that serves the Workload API for `socat`, whose user is WEB_USER. */
async function startServing() {
  const dir = mkdtempSync(join(tmpdir(), "heddle-workload-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  chmodSync(dir, 0o755);
  // What another user runs has to be readable by it, wherever the repository is.
  const proto = join(dir, "workload.proto");
  copyFileSync(PROTO, proto);
  chmodSync(proto, 0o644);
  const place = await makePlace();
  place.write("socat.json", { service: { ...serviceOf(place.ports.echo), meta: { "spiffe-user": String(WEB_USER) } } });
  const sockets = join(dir, "sockets");
  const agent = await startAgent(place, ["-dev", `-workload-api-dir=${sockets}`], "the Workload API is served");
  return { agent, proto, socket: join(sockets, "socat.sock"), sockets };
}

const serviceOf = (port: number): object => (definition("socat", port) as { service: object }).service;

const lines = (text: string) =>
  text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);

async function uriOf({ api }: Agent): Promise<string> {
  return (await api<{ ServiceURI: string }>("/v1/agent/connect/ca/leaf/socat")).ServiceURI;
}

test("a service's user streams its SVID, the next one after a rotation, and the end after a revocation", async (ctx) => {
  needs(ctx, "curl", "setpriv");
  const { agent, socket, proto } = await startServing();
  expect(statSync(socket)).toMatchObject({ uid: WEB_USER });
  expect(statSync(socket).mode & 0o777).toBe(0o600);
  const client = ask(WEB_USER, socket, "FetchX509SVID", proto);
  await client.printed("spiffe_id");
  const [first] = lines(client.out);
  expect(first).toMatchObject({ spiffe_id: await uriOf(agent), fits: true, issued: true });

  const bundles = ask(WEB_USER, socket, "FetchX509Bundles", proto);
  await bundles.printed("domain");
  const trustDomain = (await uriOf(agent)).split("/")[2];
  expect(lines(bundles.out)[0]).toMatchObject({ domain: `spiffe://${trustDomain}` });

  const config = JSON.stringify({ Provider: "consul", Config: { PrivateKeyType: "ec", PrivateKeyBits: 384 } });
  const rotate = await fetch(`http://127.0.0.1:${agent.ports.http}/v1/connect/ca/configuration`, {
    method: "PUT",
    body: config,
  });
  expect(rotate.status).toBe(200);
  await expect.poll(() => new Set(lines(client.out).map(({ serial }) => serial)).size).toBe(2);
  await expect.poll(() => lines(client.out).at(-1)).toMatchObject({ issued: expect.any(Boolean), fits: true });
  await expect.poll(() => new Set(lines(bundles.out).map(({ bundle }) => bundle)).size).toBe(2);

  expect(await agent.ok("connect", "ca", "revoke", "-service=socat")).toContain("Revoked");
  await client.printed('"code":7');
  expect(lines(client.out).at(-1)).toMatchObject({
    code: 7,
    details: expect.stringMatching(/service 'socat' was revoked/),
  });
}, 60_000);

test("nobody else gets it: another user, a call without the header, another method, and when it is gone", async (ctx) => {
  needs(ctx, "curl", "setpriv");
  const { agent, socket, proto } = await startServing();
  if (isRoot) {
    const stranger = ask(OTHER_USER, socket, "FetchX509SVID", proto);
    await stranger.printed('"code":14');
    expect(stranger.out).toMatch(/EACCES/);
    expect(stranger.out).not.toContain("spiffe_id");
  }
  const bare = ask(WEB_USER, socket, "FetchX509SVID", proto, "without-header");
  await bare.printed('"code":3');
  expect(lines(bare.out)[0]).toMatchObject({
    details: expect.stringContaining("security header missing from request"),
  });

  for (const method of ["FetchJWTSVID", "FetchJWTBundles", "ValidateJWTSVID"]) {
    const jwt = ask(WEB_USER, socket, method, proto);
    await jwt.exited;
    expect(lines(jwt.out)).toEqual([
      { code: 12, details: "JWT-SVIDs are not served here: FetchX509SVID and FetchX509Bundles are" },
    ]);
  }

  await agent.ok("services", "deregister", "-id=socat");
  await expect.poll(() => statSync(socket, { throwIfNoEntry: false })).toBeUndefined();
}, 60_000);
