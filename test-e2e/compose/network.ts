/**
 * Networks without an engine: each namespace is held by a sleeping process and has a leg on a bridge, which is in a namespace
 * of its own too. Nothing is named on the host, and all of it is gone when the holders are.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";

export interface Namespace {
  name: string;
  /** Empty for one without a leg on the bridge. */
  address: string;
  /** Of its holder, for `nsenter -t`. */
  pid: number;
}

export interface Network {
  /** Where the bridge is: every frame between namespaces passes here. */
  switchPid: number;
  readonly bridge: string;
  namespaces: Map<string, Namespace>;
  close(): void;
}

const BRIDGE = "mesh0";
const PREFIX = "10.77.0";
/** Every process of the tests ends with them, whatever happens to them. */
export const DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"];

/** Makes one namespace a name; those in `isolated` have nothing but their own loopback. */
export async function createNetwork(names: string[], isolated: string[]): Promise<Network> {
  const holders: ChildProcess[] = [];
  const hold = async (): Promise<number> => {
    const holder = spawn("unshare", ["--net", "--", ...DIE_WITH_PARENT, "sh", "-c", "echo; exec sleep infinity"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    holders.push(holder);
    await once(holder.stdout, "data");
    return holder.pid as number;
  };
  const close = () => {
    for (const holder of holders) holder.kill("SIGKILL");
  };
  try {
    const switchPid = await hold();
    ip(switchPid, "link", "add", BRIDGE, "type", "bridge");
    ip(switchPid, "link", "set", BRIDGE, "up");
    const namespaces = new Map<string, Namespace>();
    for (const [i, name] of [...names, ...isolated].entries()) {
      const pid = await hold();
      ip(pid, "link", "set", "lo", "up");
      const address = isolated.includes(name) ? "" : `${PREFIX}.${i + 10}`;
      if (address !== "") plug(switchPid, pid, i, address);
      namespaces.set(name, { name, address, pid });
    }
    return { switchPid, bridge: BRIDGE, namespaces, close };
  } catch (error) {
    close();
    throw error;
  }
}

function plug(switchPid: number, pid: number, index: number, address: string): void {
  const leg = `leg${index}`;
  ip(switchPid, "link", "add", leg, "type", "veth", "peer", "name", "eth0", "netns", String(pid));
  ip(switchPid, "link", "set", leg, "master", BRIDGE, "up");
  ip(pid, "addr", "add", `${address}/24`, "dev", "eth0");
  ip(pid, "link", "set", "eth0", "up");
  ip(pid, "route", "add", "default", "via", `${PREFIX}.1`); // as an engine has it: the agent advertises this leg
}

function ip(pid: number, ...args: string[]): void {
  execFileSync("nsenter", ["-t", String(pid), "--net", "ip", ...args], { stdio: ["ignore", "ignore", "pipe"] });
}
