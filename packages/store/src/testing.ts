/** A real etcd for tests: one member or several, on free ports of loopback, with their data in a folder that is removed. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sleep } from "@heddle/daemon";
import type { ServerInfo } from "./cluster.ts";
import { createEtcdClient, type EtcdClient } from "./etcd/client.ts";
import { GrpcError } from "@heddle/grpc";

/** A server for tests that ask for none in particular. */
export const TEST_SERVER: ServerInfo = {
  ...{ id: "test", name: "n1", address: "127.0.0.1:8300", version: "0.0.0", startedAt: 0 },
};

const START_TIMEOUT_MS = 20_000;

/** False where Debian's etcd-server is not installed. */
export const hasEtcd: boolean = spawnSync("etcd", ["--version"]).status === 0;

export interface EtcdCluster extends AsyncDisposable {
  /** URLs of its clients, one a member. */
  readonly endpoints: string[];
  /** A client of all members; the caller closes it. */
  client(): EtcdClient;
  signal(member: number, signal: NodeJS.Signals): Promise<void>;
  /** Starts a member again that was killed. */
  restart(member: number): Promise<void>;
  /** Saves everything as it is now; returns the file, which goes with the cluster. */
  save(): string;
  /** Kills all members and starts them with what was saved, as an operator does who has lost them. */
  restoreFrom(saved: string): Promise<void>;
}

export interface EtcdClusterOptions {
  members?: number;
  flags?: readonly string[];
}

/** Resolves when every member answers. */
export async function startEtcd({ members = 1, flags = [] }: EtcdClusterOptions = {}): Promise<EtcdCluster> {
  const dir = mkdtempSync(join(tmpdir(), "heddle-etcd-"));
  const ports = await freePorts(members * 2);
  const names = Array.from({ length: members }, (_, i) => `m${i}`);
  const clientUrl = (i: number) => `http://127.0.0.1:${ports[i * 2]}`;
  const peerUrl = (i: number) => `http://127.0.0.1:${ports[i * 2 + 1]}`;
  const cluster = names.map((name, n) => `${name}=${peerUrl(n)}`).join(",");
  const etcdctl = (...args: string[]) =>
    void execFileSync("etcdctl", args, { stdio: "pipe", env: { PATH: process.env.PATH, ETCDCTL_API: "3" } });
  let saves = 0;
  const running: (ChildProcess | undefined)[] = [];
  const launch = (i: number) => {
    running[i] = spawn(
      "setpriv", // a test that is killed leaves none behind
      [
        ...["--pdeathsig", "KILL", "--", "etcd"],
        ...["--name", `m${i}`, "--data-dir", join(dir, `m${i}`), "--log-level", "error"],
        ...["--listen-client-urls", clientUrl(i), "--advertise-client-urls", clientUrl(i)],
        ...["--listen-peer-urls", peerUrl(i), "--initial-advertise-peer-urls", peerUrl(i)],
        ...["--initial-cluster", cluster],
        ...["--heartbeat-interval", "50", "--election-timeout", "500", "--quota-backend-bytes", "268435456"],
        ...flags,
      ],
      { stdio: "ignore", env: { PATH: process.env.PATH, ETCD_UNSUPPORTED_ARCH: process.env.ETCD_UNSUPPORTED_ARCH } },
    );
  };
  const answers = async (i: number) => {
    const client = createEtcdClient({ endpoints: [clientUrl(i)] });
    try {
      for (const deadline = performance.now() + START_TIMEOUT_MS; ; await sleep(20)) {
        try {
          await client.range({ key: "health" });
          return;
        } catch (error) {
          if (error instanceof GrpcError && !error.isPassing) return; // it wants to know who asks
          if (performance.now() > deadline) throw error;
        }
      }
    } finally {
      client.close();
    }
  };
  names.forEach((_, i) => launch(i));
  await Promise.all(names.map((_, i) => answers(i)));
  const end = async (i: number, signal: NodeJS.Signals) => {
    const child = running[i];
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    if (signal === "SIGKILL" || signal === "SIGTERM") await once(child, "exit");
  };
  return {
    endpoints: names.map((_, i) => clientUrl(i)),
    client: () => createEtcdClient({ endpoints: names.map((_, i) => clientUrl(i)) }),
    signal: end,
    async restart(i) {
      launch(i);
      await answers(i);
    },
    save() {
      const file = join(dir, `saved-${++saves}`);
      etcdctl("--endpoints", clientUrl(0), "snapshot", "save", file);
      return file;
    },
    async restoreFrom(saved) {
      await Promise.all(names.map((_, i) => end(i, "SIGKILL")));
      for (const [i, name] of names.entries()) {
        const data = join(dir, name);
        rmSync(data, { recursive: true });
        const self = ["--name", name, "--data-dir", data, "--initial-advertise-peer-urls", peerUrl(i)];
        etcdctl("snapshot", "restore", saved, ...self, "--initial-cluster", cluster);
        launch(i);
      }
      await Promise.all(names.map((_, i) => answers(i)));
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(names.map((_, i) => end(i, "SIGKILL")));
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Held together until all are chosen, so that none is chosen twice. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, "127.0.0.1");
      await once(server, "listening");
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
  return ports;
}
