/**
 * What refused handshakes leave behind (SV-06): N callers with certificates of 20 names, which the mesh's own CA has signed, at a
 * proxy's public listener. Prints its memory as it goes. Ends with status 1 where a byte reached the service, or memory grew by more than 30 MiB.
 *
 *     node tools/soak/handshakes.ts [handshakes] [at once]      # 100000 50
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { connect } from "node:tls";
import { startFakeAgent } from "@heddle/data-plane/testing";
import { sleep } from "@heddle/daemon";
import { createMeshClient } from "@heddle/tls";
import { forgeLeaf } from "@heddle/tls/testing";
import { type Bench, onBench } from "./support.ts";

const NAMES = 20;
const CERTIFICATES = 16; // that callers take turns with
const WARM = 0.05;
const MOST_MIB = 30;
const QUIET_MS = 10_000; // for the collector
const [handshakes = 100_000, together = 50] = process.argv.slice(2).map(Number);

let reached = 0;
const service = createServer((socket) => void socket.on("error", () => {}).on("data", () => reached++)).listen(
  0,
  "127.0.0.1",
);
await once(service, "listening");
const publicPort = await freePort();
await using agent = await startFakeAgent();
agent.change((state) => {
  state.services["db-sidecar-proxy"] = {
    Kind: "connect-proxy",
    ID: "db-sidecar-proxy",
    Port: publicPort,
    Proxy: {
      DestinationServiceName: "db",
      DestinationServiceID: "db",
      LocalServiceAddress: "127.0.0.1",
      LocalServicePort: (service.address() as AddressInfo).port,
      Config: { bind_address: "127.0.0.1", max_handshakes_per_source: together * 2 },
    },
  };
});
const flags = [
  "connect",
  "proxy",
  `-http-addr=${agent.address}`,
  "-proxy-id=db-sidecar-proxy",
  "-workers=1",
  "-log-level=err",
];
await onBench(run);

async function run({ heddle }: Bench): Promise<boolean> {
  const proxy = heddle(...flags);
  const rssMib = () => rssOf(proxy.pid);
  const clients = Array.from({ length: CERTIFICATES }, (_, i) => {
    const dns = Array.from({ length: NAMES - 1 }, (_name, j) => `s${i}-${j}.example`);
    return createMeshClient({ ...forgeLeaf(agent.mesh, { dns }), roots: [agent.mesh.root.certPem] });
  });
  const attempt = async (i: number): Promise<boolean> => {
    const socket = connect({
      ...(clients[i % CERTIFICATES] as (typeof clients)[number]).options(),
      host: "127.0.0.1",
      port: publicPort,
    });
    let isThrough = false;
    socket.on("error", () => {});
    socket.once("secureConnect", () => {
      isThrough = true;
      socket.write("attack");
    });
    await new Promise<void>((resolve) => socket.once("close", () => resolve()));
    return isThrough;
  };
  while (!(await attempt(0))) await sleep(100); // it listens, and TLS comes about before the names are judged
  const warm = Math.ceil(handshakes * WARM);
  let made = 0;
  let through = 0;
  const work = async (until: number) => {
    while (made < until) if (await attempt(made++)) through++;
  };
  const all = (until: number) => Promise.all(Array.from({ length: together }, () => work(until)));
  await all(warm);
  await sleep(QUIET_MS);
  const before = rssMib();
  console.log(`${before} MiB after the first ${made}`);
  for (let tenth = 1; tenth <= 10; tenth++) {
    const startedAt = performance.now();
    const from = made;
    await all(warm + (handshakes * tenth) / 10);
    const rate = Math.round(((made - from) * 1_000) / (performance.now() - startedAt));
    console.log(`${rssMib()} MiB after ${made}, ${rate} a second`);
  }
  await sleep(QUIET_MS);
  const grown = rssMib() - before;
  console.log(
    `${grown} MiB more in the end; ${through} of ${made} handshakes came about and were refused; ${reached} reached the service`,
  );
  return grown < MOST_MIB && reached === 0;
}

/** In MiB, of the process that `heddle` has become. */
function rssOf(pid: number | undefined): number {
  const [, kib = "0"] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Math.round(Number(kib) / 1_024);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
