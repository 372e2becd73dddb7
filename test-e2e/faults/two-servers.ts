/** Two servers with one etcd between them, on one host with two addresses: etcd takes plain text on loopback alone. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { HEDDLE, NODE, type Process } from "./daemon.ts";
import type { Hosts } from "./hosts.ts";

/** The host that they are on; the first of its network. */
export const SERVERS_HOST = "servers";
export const SERVERS = { a: "10.77.0.10", b: "10.77.0.110" };
const HTTP_PORTS = { a: 8500, b: 8501 };
const ETCD = "-store=etcd://127.0.0.1:2379/mesh";

export interface TwoServers {
  /** Resolves when it serves. */
  start(name: keyof typeof SERVERS, ...flags: string[]): Promise<Process>;
}

export async function prepareServers(hosts: Hosts, dir: string): Promise<TwoServers> {
  const key = randomBytes(32).toString("base64");
  await hosts.said(SERVERS_HOST, "ip", "addr", "add", `${SERVERS.b}/24`, "dev", "eth0");
  hosts.inside(SERVERS_HOST, "etcd", "--data-dir", join(dir, "etcd"), "--log-level", "error");
  return {
    async start(name, ...flags) {
      const place = [`-node=${name}`, `-bind=${SERVERS[name]}`, `-data-dir=${join(dir, name)}`];
      const own = [...place, `-http-port=${HTTP_PORTS[name]}`, "-dns-port=-1", ETCD, "-ca-encryption-key=env:CA_KEY"];
      const args = ["agent", "-server", "-bootstrap-expect=1", ...own, ...flags];
      const server = hosts.inside(SERVERS_HOST, "env", `CA_KEY=${key}`, NODE, HEDDLE, ...args);
      await server.saw("Synced node info");
      return server;
    },
  };
}
