/**
 * Damage to the network between namespaces, done on the switch frame by frame, so that nobody is told: a cable that is cut, that
 * carries one way only or loses half of its frames, and hosts that see each other and nobody else. With the kernel's u32 and BPF
 * classifiers: netem is not in every kernel.
 */
import { execFileSync } from "node:child_process";
import type { Network } from "../compose/network.ts";

export type Damage = "cut" | "deaf" | "lossy" | "mute";

const SINK = "sink"; // a cable into the void
const EVERY = "1,6 0 0 4294967295"; // ret -1
/** ld rand; jge 2^31: ret -1, or ret 0 (linux/filter.h, SKF_AD_RANDOM). */
const HALF = "4,32 0 0 4294963256,53 0 1 2147483648,6 0 0 4294967295,6 0 0 0";

export interface Cables {
  /** `deaf` hears nobody, `mute` is heard by nobody. */
  damage(host: string, how: Damage): void;
  /** Nothing passes between these hosts and all others. */
  split(hosts: readonly string[]): void;
  /** Everything is as it was. */
  mend(): void;
}

export function createCables({ switchPid, namespaces }: Network): Cables {
  const names = [...namespaces.keys()];
  const legOf = (host: string) => `leg${names.indexOf(host)}`;
  const run = (program: "ip" | "tc", ...args: string[]) =>
    void execFileSync("nsenter", ["-t", String(switchPid), "--net", program, ...args], { stdio: "pipe" });
  run("ip", "link", "add", SINK, "type", "veth", "peer", "name", `${SINK}-end`);
  run("ip", "link", "set", SINK, "up");
  const cut = new Set<string>();
  const filtered = new Set<string>();
  const drop = (leg: string, way: "egress" | "ingress", ...match: string[]) => {
    if (!filtered.has(leg)) run("tc", "qdisc", "add", "dev", leg, "clsact");
    filtered.add(leg);
    const into = ["action", "mirred", "egress", "redirect", "dev", SINK];
    run("tc", "filter", "add", "dev", leg, way, "protocol", match[0] === "bpf" ? "all" : "ip", ...match, ...into);
  };
  return {
    damage(host, how) {
      const leg = legOf(host);
      if (how === "cut") {
        run("ip", "link", "set", leg, "down");
        cut.add(leg);
      }
      const ways = { cut: [], deaf: ["egress"], mute: ["ingress"], lossy: ["egress", "ingress"] } as const;
      for (const way of ways[how]) drop(leg, way, "bpf", "bytecode", how === "lossy" ? HALF : EVERY);
    },
    split(hosts) {
      const others = [...namespaces.values()].filter(({ name, address }) => address !== "" && !hosts.includes(name));
      for (const host of hosts)
        for (const { name, address } of others) {
          drop(legOf(host), "ingress", "u32", "match", "ip", "dst", `${address}/32`);
          drop(legOf(name), "ingress", "u32", "match", "ip", "dst", `${namespaces.get(host)?.address}/32`);
        }
    },
    mend() {
      for (const leg of filtered) run("tc", "qdisc", "del", "dev", leg, "clsact");
      for (const leg of cut) run("ip", "link", "set", leg, "up");
      filtered.clear();
      cut.clear();
    },
  };
}
