/** What time alone changes, on a clock that is moved by hand: certificates that end, roots that end, clocks that differ. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { createLogHub, createRegistry, type LogEntry } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { createRootCertificate, generateKey, issueLeaf, keyToPem, NO_REVOCATIONS } from "@heddle/tls";
import { createTestMesh, type TestMesh } from "@heddle/tls/testing";
import { expect, onTestFinished, test } from "vitest";
import { createCarrier } from "./carrier.ts";
import type { DecisionReports } from "./decision-reports.ts";
import { ACCEPT_OPTIONS } from "./dial.ts";
import type { WantedListener } from "./proxy.ts";
import { createSnapshotStore, upstreamKey } from "./snapshot.ts";
import { toLeaf, toRoots } from "./sources.ts";
import type { PublicSpec, UpstreamSpec } from "./spec.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const ROOT_TTL_MS = 5 * HOUR_MS;
const LOOK_MS = 30_000; // when a proxy looks again at what time alone changes
const nobody: DecisionReports = {
  allowed() {},
  cut() {},
  refused() {},
  follow: () => async () => {},
  close: async () => {},
};

const upstream = { name: "db", kind: "service", namespace: "default", datacenter: "" } as const;
const limits = { connectTimeoutMs: 5_000, maxConnections: 100 };
const bind = { host: "127.0.0.1", port: 0 };

/** A leaf as a CA would sign it whose clock is `aheadMs` before ours. */
function leafOf(mesh: TestMesh, service: string, { aheadMs = 0, ttlMs = HOUR_MS } = {}) {
  const key = generateKey();
  const at = Date.now() + aheadMs;
  const { certPem } = issueLeaf({
    publicKey: key,
    spiffeId: mesh.spiffeId(service),
    signer: mesh.signer,
    ttlMs,
    now: at,
  });
  return toLeaf({ CertPEM: certPem, PrivateKeyPEM: keyToPem(key) }, service);
}

interface Plane {
  clock: ManualClock;
  store: ReturnType<typeof createSnapshotStore>;
  proxy: ReturnType<ReturnType<typeof createCarrier>["carry"]>["proxy"];
  entries: LogEntry[];
  port: () => Promise<number>;
}

/** A proxy on a clock of its own, filled by hand. */
function startPlane(
  mesh: TestMesh,
  service: string,
  more: { public?: PublicSpec; upstreams?: UpstreamSpec[]; aheadMs?: number } = {},
): Plane {
  const clock = new ManualClock(Date.now() + (more.aheadMs ?? 0));
  const hub = createLogHub({ write: () => {} });
  const entries: LogEntry[] = [];
  hub.tap("info", (entry) => entries.push(entry));
  const store = createSnapshotStore();
  const standing = new Map<string, Server>();
  const sockets = new Set<Socket>();
  const want = (listeners: WantedListener[]) => {
    for (const { name, accept } of listeners) {
      if (standing.has(name)) continue;
      const server = createServer(ACCEPT_OPTIONS, (socket) => {
        sockets.add(socket);
        accept(socket);
      });
      standing.set(name, server.listen(0, "127.0.0.1"));
    }
  };
  const carrier = createCarrier({ registry: createRegistry("test"), log: hub.log, reports: nobody, clock });
  const { proxy } = carrier.carry({ id: "", store, listeners: { want } });
  onTestFinished(async () => {
    carrier.close();
    for (const server of standing.values()) server.close();
    for (const socket of sockets) socket.destroy();
    await proxy.close();
  });
  const spec = { service, namespace: "default", upstreams: more.upstreams ?? [] };
  store.set("spec", { ...spec, ...(more.public && { public: more.public }) });
  store.set("roots", toRoots({ TrustDomain: mesh.trustDomain, Roots: [{ RootCert: mesh.root.certPem }] }));
  store.set("revocations", NO_REVOCATIONS);
  store.set("rules", { intentions: [], defaultAllow: true });
  store.set("leaf", leafOf(mesh, service));
  const port = async () => {
    const [server] = standing.values();
    if (!server) throw new Error(`no listener yet: missing ${proxy.missing().join(", ")}`);
    if (!server.listening) await once(server, "listening");
    return (server.address() as AddressInfo).port;
  };
  return { clock, store, proxy, entries, port };
}

/** A root that ends within hours: the clock is moved in steps of the proxy's looks. */
const shortRoot = () =>
  createRootCertificate({
    trustDomain: "11111111-2222-3333-4444-555555555555.consul",
    validityMs: ROOT_TTL_MS,
    now: Date.now() - HOUR_MS,
  });

/** `web` reaching `db`, each on its clock, and db's service, which echoes. */
async function startPair(options: { dbAheadMs?: number; webAheadMs?: number } = {}) {
  const mesh = await createTestMesh({ root: await shortRoot() });
  const service = createServer((socket) => socket.on("error", () => {}).pipe(socket)).listen(0, "127.0.0.1");
  await once(service, "listening");
  onTestFinished(() => void service.close());
  const local = { host: "127.0.0.1", port: (service.address() as AddressInfo).port };
  const timing = { localConnectTimeoutMs: 1_000, handshakeTimeoutMs: 5_000, maxHandshakesPerSource: 100 };
  const db = startPlane(mesh, "db", {
    public: { bind, local, ...timing, maxConnections: 100 },
    aheadMs: options.dbAheadMs ?? 0,
  });
  const web = startPlane(mesh, "web", {
    upstreams: [{ ...upstream, bind, ...limits }],
    aheadMs: options.webAheadMs ?? 0,
  });
  const at = { host: "127.0.0.1", port: await db.port() };
  web.store.setEndpoints(upstreamKey({ ...upstream, bind, ...limits }), [{ ...at, id: "db", node: "n" }]);
  return { mesh, db, web, port: await web.port() };
}

/** An application's connection that has sent a byte; what came back, and how it ended. */
function dial(port: number) {
  const socket = connect({ host: "127.0.0.1", port });
  onTestFinished(() => void socket.destroy());
  let received = "";
  socket.on("data", (chunk: Buffer) => (received += chunk.toString()));
  const ended = new Promise<string>((resolve) => {
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? ""));
    socket.once("end", () => resolve("end"));
  });
  const echoes = async (text: string) => {
    socket.write(text);
    await expect.poll(() => received).toContain(text);
  };
  return { socket, ended, echoes };
}

const sentences = ({ entries }: Plane, about: RegExp) => entries.filter(({ sentence }) => about.test(sentence)).length;

test("our certificate's end is told at each stage, makes us unready before, and is an error after", async () => {
  const mesh = await createTestMesh();
  const plane = startPlane(mesh, "web");
  const close = /^our certificate is close to its end/;
  plane.clock.advance(HOUR_MS * 0.85);
  expect([sentences(plane, close), plane.proxy.identityProblem()]).toEqual([0, undefined]);
  plane.clock.advance(HOUR_MS * 0.06);
  expect(sentences(plane, close)).toBe(1);
  plane.clock.advance(HOUR_MS * 0.075);
  expect([sentences(plane, close) > 1, plane.proxy.identityProblem()]).toEqual([
    true,
    "our certificate is about to expire",
  ]);
  plane.clock.advance(HOUR_MS * 0.02);
  expect(sentences(plane, /^our certificate has expired/)).toBe(1);
  plane.clock.advance(HOUR_MS);
  expect(sentences(plane, /^our certificate has expired/)).toBe(1); // once
  plane.store.set("leaf", leafOf(mesh, "web", { ttlMs: 10 * HOUR_MS }));
  expect(plane.proxy.identityProblem()).toBeUndefined();
});

test("a connection outlives its caller's certificate; a new one in the same tunnel does not get in", async () => {
  const { db, port } = await startPair();
  const open = dial(port);
  await open.echoes("before");
  db.clock.advance(2 * HOUR_MS); // web's does not know yet
  const late = dial(port);
  late.socket.write("x");
  expect(await late.ended).toBe("ECONNRESET");
  const refused = db.entries.find(({ sentence }) => sentence === "connection refused");
  expect(refused?.fields["reason"]).toMatch(/^the certificate of 'spiffe:.*\/svc\/web' has expired$/);
  await open.echoes("after");
});

test("a caller whose clock says that the far certificate has ended makes another tunnel", async () => {
  const { mesh, db, web, port } = await startPair();
  const open = dial(port);
  await open.echoes("before");
  expect(db.proxy.tunnels()).toMatchObject({ inbound: 1 });
  web.clock.advance(HOUR_MS + MINUTE_MS);
  db.store.set("leaf", leafOf(mesh, "db", { ttlMs: 3 * HOUR_MS }));
  await dial(port).echoes("another");
  expect(db.proxy.tunnels()).toMatchObject({ inbound: 2 });
  await open.echoes("still");
});

test("a root that leaves after its leaves have ended takes no connection along; one that is taken away sooner does", async () => {
  const { mesh, db, web, port } = await startPair();
  const next = toRoots({ TrustDomain: mesh.trustDomain, Roots: [{ RootCert: (await shortRoot()).certPem }] });
  const open = dial(port);
  await open.echoes("before");
  for (const { clock } of [db, web]) clock.advance(HOUR_MS + MINUTE_MS);
  for (const { store } of [db, web]) store.set("roots", next);
  await open.echoes("after");
  for (const { clock } of [db, web]) clock.advance(2 * LOOK_MS);
  await open.echoes("still");

  const other = await startPair();
  const cut = dial(other.port);
  await cut.echoes("before");
  other.db.store.set("roots", next);
  expect(await cut.ended).toBe("ECONNRESET");
});

test("a root that ends takes its connections with it at the next look, not before", async () => {
  const { mesh, db, port } = await startPair();
  const open = dial(port);
  await open.echoes("before");
  const { notAfter } = mesh.signer;
  db.clock.advance(notAfter - db.clock.now() - LOOK_MS - 1);
  await open.echoes("to its last day");
  db.clock.advance(2 * LOOK_MS);
  expect(await open.ended).toBe("ECONNRESET");
  const cut = db.entries.find(
    ({ sentence, fields }) => sentence === "connection closed" && fields["decision"] === "refused",
  );
  expect(cut?.fields["reason"]).toMatch(/^the peer's certificate is no longer valid: /);
});

test.each([
  ["the service's proxy ten minutes ahead", { dbAheadMs: 10 * MINUTE_MS }],
  ["the service's proxy ten minutes behind", { dbAheadMs: -10 * MINUTE_MS }],
  [
    "the caller's ten minutes ahead, the service's ten behind",
    { webAheadMs: 10 * MINUTE_MS, dbAheadMs: -10 * MINUTE_MS },
  ],
])("clocks that differ cut nothing and refuse nobody: %s", async (_title, skew) => {
  const { db, web, port } = await startPair(skew);
  const open = dial(port);
  await open.echoes("open");
  for (const { clock } of [db, web]) clock.advance(2 * LOOK_MS);
  await open.echoes("still");
  await dial(port).echoes("another");
  for (const { proxy } of [db, web]) expect(proxy.identityProblem()).toBeUndefined();
});

const refusal = (plane: Plane) =>
  plane.entries.find(({ sentence }) => sentence === "connection refused")?.fields["reason"] as string | undefined;
const BY_THE_CLOCK =
  /is not valid before \S+Z, [89] min from now by the clock here: that one is behind, or the CA's is ahead$/;

test("a caller's certificate of a CA ten minutes behind is good; of one ten minutes ahead both ends say by how much", async () => {
  const { mesh, db, web, port } = await startPair();
  web.store.set("leaf", leafOf(mesh, "web", { aheadMs: -10 * MINUTE_MS }));
  await dial(port).echoes("from behind");
  web.store.set("leaf", leafOf(mesh, "web", { aheadMs: 10 * MINUTE_MS }));
  expect(web.entries.at(-2)).toMatchObject({
    sentence: "our certificate is not valid yet by the clock here",
    fields: { why: expect.stringMatching(BY_THE_CLOCK) as string },
  });
  const early = dial(port);
  early.socket.write("x");
  expect(await early.ended).toBe("ECONNRESET");
  expect(refusal(db)).toMatch(/^its certificate was refused: CERT_NOT_YET_VALID: it is not valid before /);
  expect(refusal(db)).toMatch(BY_THE_CLOCK);
  expect(refusal(web)).toMatch(/^refused by the far proxy: .*; our certificate is not valid before /);
  expect(refusal(web)).toMatch(BY_THE_CLOCK);
});

test("a service's certificate of a CA ten minutes ahead is refused by its caller, with the reason on both ends", async () => {
  const { mesh, db, web, port } = await startPair();
  db.store.set("leaf", leafOf(mesh, "db", { aheadMs: 10 * MINUTE_MS }));
  const early = dial(port);
  early.socket.write("x");
  expect(await early.ended).toBe("ECONNRESET");
  expect(refusal(web)).toMatch(/^certificate is not yet valid: it is not valid before /);
  expect(refusal(web)).toMatch(BY_THE_CLOCK);
  const told = db.entries.find(({ sentence }) => sentence === "our certificate is not valid yet by the clock here");
  expect(told?.fields["why"]).toMatch(BY_THE_CLOCK);
});

test("a caller that is refused without a word is told that its certificate is young: a far clock may be behind", async () => {
  const { mesh, db, web, port } = await startPair();
  // As db sees it: web's certificate begins nine minutes from now. By web's own clock it is a minute old.
  web.clock.advance(10 * MINUTE_MS);
  web.store.set("leaf", leafOf(mesh, "web", { aheadMs: 10 * MINUTE_MS }));
  const early = dial(port);
  early.socket.write("x");
  expect(await early.ended).toBe("ECONNRESET");
  expect(refusal(db)).toMatch(BY_THE_CLOCK);
  expect(refusal(web)).toMatch(
    /^refused by the far proxy: .*; our certificate is valid for 6\d s by the clock here, and not yet by one that is further behind$/,
  );
});

test("an expired certificate is refused with how long ago it ended", async () => {
  const { mesh, db, web, port } = await startPair();
  web.store.set("leaf", leafOf(mesh, "web", { aheadMs: -10 * MINUTE_MS, ttlMs: 5 * MINUTE_MS }));
  const late = dial(port);
  late.socket.write("x");
  expect(await late.ended).toBe("ECONNRESET");
  expect(refusal(db)).toMatch(
    /^its certificate was refused: CERT_HAS_EXPIRED: it expired at \S+Z, 5 min ago by the clock here$/,
  );
});
