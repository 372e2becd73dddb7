/** Daemons that run alone, with certificates from files: what the CA has revoked is refused by all of them, and told on the stream. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createStreamClient } from "@heddle/api-client";
import { silentLog } from "@heddle/daemon";
import { beforeAll, expect, onTestFinished, test } from "vitest";
import {
  askWith,
  type AskAsOptions,
  certificateFiles,
  makeCertificates,
  makeNodeCertificate,
  WEBSOCKET,
} from "./certificates.ts";
import { freePort, serve, tempDir, until } from "./daemon.ts";

const DIR = tempDir();
const DAY_MS = 86_400_000;
const REVOCATIONS = "/v1/connect/ca/revocations";
const pem = (name: string) => readFileSync(join(DIR, `${name}.pem`), "utf8");
const askAs = (port: number, role: string, options: AskAsOptions) => askWith(DIR, port, role, options);

beforeAll(async () => {
  await makeCertificates(DIR);
  for (const node of ["n1", "n2"]) await makeNodeCertificate(DIR, node);
});

interface List {
  Serials: { SerialNumber: string }[];
}

/** The change stream of a server, as the daemon that has this certificate. */
function streamAs(port: number, name: string) {
  const tls = {
    ca: [pem("heddle-ca")],
    cert: pem(`dc1-${name}`),
    key: pem(`dc1-${name}-key`),
    serverRoles: ["catalog"],
  };
  const stream = createStreamClient({ url: `https://127.0.0.1:${port}`, tls, log: silentLog });
  onTestFinished(() => stream.close());
  return stream;
}

test("an agent's certificate that was revoked is out everywhere, at once and after a restart; others go on", async () => {
  const ports = { catalog: await freePort(), ca: await freePort(), health: await freePort() };
  const url = (name: "catalog" | "ca") => `https://127.0.0.1:${ports[name]}`;
  const startCatalog = () =>
    serve("catalog", ports.catalog, ...certificateFiles(DIR, "catalog"), `-ca-url=${url("ca")}`);
  const catalog = await startCatalog();
  const ca = await serve("ca", ports.ca, ...certificateFiles(DIR, "ca"), `-catalog-url=${url("catalog")}`);
  const health = await serve("health", ports.health, ...certificateFiles(DIR, "health"), `-ca-url=${url("ca")}`);
  const told: string[][] = [];
  streamAs(ports.catalog, "dns").subscribe<List>(REVOCATIONS, {
    onAnswer: ({ body }) => told.push(body.Serials.map(({ SerialNumber }) => SerialNumber)),
  });
  const roots: unknown[] = [];
  streamAs(ports.catalog, "dns").subscribe("/v1/connect/ca/roots", { onAnswer: ({ body }) => roots.push(body) });
  const lost = streamAs(ports.catalog, "agent-n1");
  lost.subscribe("/v1/catalog/nodes", { onAnswer: () => {} });
  await expect.poll(() => [told, lost.connected, roots.length]).toEqual([[[]], true, 1]);
  expect(roots).toEqual([(await askAs(ca.port, "dns", { path: "/v1/connect/ca/roots" })).json()]);

  const revoke = async (body: object) => {
    const options = { method: "PUT", path: "/v1/connect/ca/revoke", body: JSON.stringify(body) };
    const answer = await askAs(ca.port, "operator", options);
    expect([answer.status, answer.text]).toEqual([200, expect.any(String)]);
    return answer.json<{ SerialNumber: string; ExpiresAt: string }>();
  };
  const { SerialNumber, ExpiresAt } = await revoke({ Certificate: pem("dc1-agent-n1"), Reason: "lost" });
  // As long as the certificate lives, which no leaf of the mesh does.
  expect(Date.parse(ExpiresAt)).toBeGreaterThan(Date.now() + 300 * DAY_MS);
  await expect.poll(() => told).toEqual([[], [SerialNumber]]);
  await expect.poll(() => lost.connected).toBe(false);
  const why = new RegExp(`^certificate ${SerialNumber} was revoked at \\S+: lost$`);
  const asks: [number, AskAsOptions][] = [
    [ports.catalog, { path: "/v1/catalog/nodes" }],
    [ports.catalog, { path: "/v1/stream", headers: WEBSOCKET }],
    [ports.ca, { method: "POST", path: "/internal/v1/ca/sign", body: "{}" }],
    [ports.health, { path: "/internal/v1/checks", headers: WEBSOCKET }],
  ];
  const isRefused = async (name: string) => {
    for (const [port, options] of asks) {
      const refused = () => askAs(port, name, options);
      const { text } = await until(refused, ({ status }) => status === 403);
      expect([options, text]).toEqual([options, expect.stringMatching(why)]);
    }
  };
  await isRefused("agent-n1");
  expect((await askAs(ports.catalog, "agent-n2", { path: "/v1/catalog/nodes" })).status).toBe(200);
  expect((await askAs(ports.ca, "agent-n2", { path: REVOCATIONS })).status).toBe(200);

  // By its digits alone nobody here knows when it ends: the entry stays as long as the CA that may have signed it.
  expect(Date.parse((await revoke({ SerialNumber: "0a:0b" })).ExpiresAt)).toBeGreaterThan(Date.now() + 1_000 * DAY_MS);

  await catalog.end("SIGKILL");
  const again = await startCatalog();
  await isRefused("agent-n1");
  for (const daemon of [again, ca, health]) expect(await daemon.end()).toEqual([0, null]);
});

test("a certificate that neither the mesh nor the daemons' own CA has signed cannot be revoked", async () => {
  const other = tempDir();
  await makeCertificates(other);
  const port = await freePort();
  const ca = await serve("ca", port, ...certificateFiles(DIR, "ca"), "-catalog-url=https://127.0.0.1:1");
  const body = JSON.stringify({ Certificate: readFileSync(join(other, "dc1-agent.pem"), "utf8") });
  const { status, text } = await askAs(port, "operator", { method: "PUT", path: "/v1/connect/ca/revoke", body });
  expect([status, text]).toEqual([400, expect.stringContaining("nobody in this mesh trusts it")]);
  expect(await ca.end()).toEqual([0, null]);
});
