/**
 * CON-02, and DUR and CON rows with the network in it: the mesh of docker-compose.cluster.yml (three etcd, three catalogs, two CAs), each
 * in a namespace of its own, while any of them is cut off, hears or is heard by nobody, loses half of what it says, is killed or stopped,
 * and while the leader of etcd is alone with one catalog. Clients ask through the agents of three nodes. What they are told must be
 * explained by some order; certificates must have serial numbers of their own, and come from the one active root at the end. HEDDLE_SOAK_SECONDS, HEDDLE_SEED: tools/soak/partitions.sh.
 */
import { execFile, execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { hasEtcd } from "@heddle/store/testing";
import { expect, test } from "vitest";
import { root } from "../compose/image.ts";
import { enter } from "../compose/inside.ts";
import { startMesh } from "../compose/mesh.ts";
import { missingNamespaces } from "../compose/needs.ts";
import { until } from "../compose/until.ts";
import { HEDDLE, NODE } from "../faults/daemon.ts";
import { createCables, type Damage } from "./cables.ts";
import { type Ask, runClient } from "./clients.ts";
import { explains, generator, newHistory } from "./histories.ts";

/** 0: one split and one other damage, each around etcd's leader. */
const SECONDS = Number(process.env.HEDDLE_SOAK_SECONDS ?? 0);
const SEED = Number(process.env.HEDDLE_SEED ?? Math.floor(Math.random() * 2 ** 31));
const FAULT_MS = SECONDS > 0 ? 10_000 : 2_000;
const CYCLES = 5; // of each of CON-02's four
const CLIENTS = 5;
const ROTATE_EVERY_MS = 20_000;
const API = "http://127.0.0.1:8500";
const WAIT_MS = 30_000;
const ETCD = ["etcd-1", "etcd-2", "etcd-3"];
const SERVERS = [...ETCD, "catalog-1", "catalog-2", "catalog-3", "ca-1", "ca-2"];
const DAMAGES: Damage[] = ["cut", "deaf", "lossy", "mute"];

const reason = hasEtcd ? missingNamespaces() : "needs etcd (Debian package etcd-server)";

test(
  `whatever part of the network is cut: the history is linearizable, and a minority acknowledges nothing (seed ${SEED})`,
  async (ctx) => {
    if (reason) ctx.skip(reason);
    const random = generator(SEED);
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
    await using mesh = await startMesh(join(root, "docker-compose.cluster.yml"));
    const inside = (name: string) => enter(mesh.network.namespaces.get(name)?.pid as number);
    const nodes = [inside("node-a"), inside("node-b"), inside("node-c")] as const;
    await using stack = new AsyncDisposableStack();
    for (const node of nodes) stack.defer(() => node.close());
    const [inMinority, ...inMajority] = nodes;
    const cables = createCables(mesh.network);
    const writes = async (node: (typeof nodes)[number]) =>
      (await node.http("PUT", `${API}/v1/kv/well`, "1").catch(() => undefined))?.text.trim() === "true";
    for (const node of nodes) await until("a write", WAIT_MS, () => writes(node));
    await inMinority.http("PUT", `${API}/v1/catalog/register`, { Node: "n", Address: "10.0.0.1" });

    const history = newHistory();
    const stop = new AbortController();
    stack.defer(() => stop.abort());
    const clients = Array.from({ length: CLIENTS }, (_, i) => {
      const own = generator(SEED + i + 1);
      const anyOf: Ask = (method, path, body) =>
        (nodes[Math.floor(own() * nodes.length)] ?? inMinority).http(method, `${API}${path}`, body);
      return runClient({ name: `c${i}`, ask: anyOf, random: own, history, signal: stop.signal });
    });
    const serials: string[] = [];
    const signing = (async () => {
      for (let i = 0; !stop.signal.aborted; i++) {
        const name = `signed-${i}`;
        await inMajority[1]?.http("PUT", `${API}/v1/agent/service/register`, { Name: name }).catch(() => {});
        const leaf = await inMajority[1]?.http("GET", `${API}/v1/agent/connect/ca/leaf/${name}`).catch(() => undefined);
        if (leaf?.status === 200) serials.push((JSON.parse(leaf.text) as { SerialNumber: string }).SerialNumber);
        await inMajority[1]?.http("PUT", `${API}/v1/agent/service/deregister/${name}`).catch(() => {});
      }
    })();

    // At length an operator also gives the CA another key all the time, at the one or the other of its servers.
    const authority = join(mesh.folder, "volumes/tls-authority");
    const operator = join(mesh.folder, "operator");
    mkdirSync(operator);
    const issued = [
      "-role=operator",
      `-dir=${operator}`,
      `-ca=${authority}/heddle-ca.pem`,
      `-key=${authority}/heddle-ca-key.pem`,
    ];
    if (SECONDS > 0) execFileSync(NODE, [HEDDLE, "tls", "cert", "create", ...issued], { stdio: "pipe" });
    const rotate = async (server: string, Config: object): Promise<boolean> => {
      const { pid } = mesh.network.namespaces.get("node-b") ?? {};
      const { address } = mesh.network.namespaces.get(server) ?? {};
      const files = [
        "--cacert",
        `${authority}/heddle-ca.pem`,
        "--cert",
        "dc1-operator.pem",
        "--key",
        "dc1-operator-key.pem",
      ];
      const url = `https://${server}:8310/v1/connect/ca/configuration`;
      const curl = ["curl", "-sf", ...files, "--resolve", `${server}:8310:${address}`, "-X", "PUT", url];
      const body = JSON.stringify({ Provider: "consul", Config });
      const asked = execFile("nsenter", ["-t", String(pid), "--net", ...curl, "-d", body], { cwd: operator });
      return ((await once(asked, "exit")) as [number])[0] === 0;
    };
    let rotations = 0;
    const rotating = (async () => {
      for (let i = 0; SECONDS > 0 && !stop.signal.aborted; i++) {
        await sleep(ROTATE_EVERY_MS, undefined, { signal: stop.signal }).catch(() => {}); // over
        const [PrivateKeyType, PrivateKeyBits] = i % 2 ? ["ec", 256] : ["rsa", 2_048];
        if (await rotate(`ca-${1 + (i % 2)}`, { PrivateKeyType, PrivateKeyBits })) rotations++;
      }
    })();

    const etcdLeader = () =>
      ETCD.find((name) => {
        const tls = join(mesh.folder, "volumes", `tls-${name}`);
        const files = ["--cacert", "heddle-ca.pem", "--cert", "dc1-server.pem", "--key", "dc1-server-key.pem"];
        const args = files.map((arg) => (arg.startsWith("--") ? arg : join(tls, arg)));
        const at = ["-t", String(mesh.network.namespaces.get(name)?.pid), "--net", "etcdctl", ...args];
        const env = { PATH: process.env.PATH, ETCDCTL_API: "3" };
        const ask = [...at, "--endpoints", "https://127.0.0.1:2379"];
        const said = execFileSync("nsenter", [...ask, "endpoint", "status", "-w", "json"], { env, stdio: "pipe" });
        const [{ Status }] = JSON.parse(said.toString()) as [
          { Status: { leader: number; header: { member_id: number } } },
        ];
        return Status.leader === Status.header.member_id;
      }) ?? pick(ETCD);
    const faults: string[] = [];
    const heals: { after: string; ms: number }[] = [];
    const heal = async () => {
      cables.mend();
      const at = performance.now();
      for (const node of nodes) await until("a write after the fault", WAIT_MS, () => writes(node));
      heals.push({ after: faults.at(-1) ?? "", ms: performance.now() - at });
    };
    const damage = async (host: string, how: Damage) => {
      faults.push(`${host} ${how}`);
      cables.damage(host, how);
      await sleep(FAULT_MS);
      await heal();
    };
    const splitLeader = async () => {
      const minority = [etcdLeader(), "catalog-1", "node-a"];
      faults.push(`split ${minority.join("+")}`);
      cables.split(minority);
      await sleep(FAULT_MS / 2);
      // What the minority was asked before it may be on its way: what it is asked now it cannot have done.
      const { status, text } = await inMinority
        .http("PUT", `${API}/v1/kv/minority`, "1")
        .catch(() => ({ status: 0, text: "" }));
      expect([status === 200, text.trim() === "true"], `a minority acknowledged a write (seed ${SEED})`).toEqual([
        false,
        false,
      ]);
      await heal();
    };
    const kinds = [
      () => damage(pick(SERVERS), pick(DAMAGES)),
      () => damage(pick(SERVERS), pick(DAMAGES)),
      splitLeader,
      async () => {
        const victim = pick(SERVERS);
        faults.push(`kill ${victim}`);
        await mesh.kill(victim);
        await sleep(random() * FAULT_MS);
        mesh.start(victim);
        await until(`${victim} to be ready`, WAIT_MS, () => mesh.isHealthy(victim));
      },
      async () => {
        const victim = pick(SERVERS);
        faults.push(`stop ${victim}`);
        mesh.container(victim).kill("SIGSTOP");
        await sleep(random() * FAULT_MS);
        mesh.container(victim).kill("SIGCONT");
      },
    ];
    const end = performance.now() + SECONDS * 1_000;
    if (SECONDS === 0) {
      await splitLeader();
      await damage(etcdLeader(), pick(DAMAGES));
    }
    for (let i = 0; i < CYCLES && SECONDS > 0; i++) {
      await damage(etcdLeader(), "cut");
      await splitLeader();
      await damage(etcdLeader(), i % 2 ? "deaf" : "mute");
      await damage(etcdLeader(), "lossy");
    }
    while (performance.now() < end) {
      await pick(kinds)();
      await sleep((random() * FAULT_MS) / 2);
    }
    await heal();
    stop.abort();
    await Promise.all([...clients, signing, rotating]);
    const slowest = heals.toSorted((a, b) => b.ms - a.ms).slice(0, 4);
    console.log(
      `writable after a fault within ${slowest.map(({ after, ms }) => `${Math.round(ms)} ms (${after})`).join(", ")} at worst of ${heals.length}; ${serials.length} certificates, ${rotations} rotations`,
    );
    explains(history, { seed: SEED, faults, atLeast: Math.max(10, SECONDS) });
    expect(serials.length).toBeGreaterThan(0);
    expect(new Set(serials).size).toBe(serials.length);
    const roots = await Promise.all(
      nodes.map((node) =>
        node.get<{ ActiveRootID: string; Roots: { Active: boolean; RootCert: string }[] }>(
          `${API}/v1/agent/connect/ca/roots`,
        ),
      ),
    );
    expect(new Set(roots.map(({ ActiveRootID }) => ActiveRootID)).size).toBe(1);
    const active = roots[0]?.Roots.filter(({ Active }) => Active) ?? [];
    expect(active).toHaveLength(1);
    if (SECONDS > 0) expect(rotations).toBeGreaterThan(0);
    const activeRoot = new X509Certificate(active[0]?.RootCert ?? "");
    await inMinority.http("PUT", `${API}/v1/agent/service/register`, { Name: "last" });
    await until("a leaf under the active root", WAIT_MS, async () => {
      const { status, text } = await inMinority.http("GET", `${API}/v1/agent/connect/ca/leaf/last`);
      if (status !== 200) return false; // the catalog that its CA asks hears of the registration after the one that took it
      return new X509Certificate((JSON.parse(text) as { CertPEM: string }).CertPEM).verify(activeRoot.publicKey);
    });
    for (const name of SERVERS) expect(mesh.container(name).isRunning(), `${name} runs`).toBe(true);
  },
  SECONDS * 1_000 + 300_000,
);
