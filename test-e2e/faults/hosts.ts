/** Hosts for a mesh, each in a network namespace of its own: agents that run there, and what is asked of them. */
import { execFileSync } from "node:child_process";
import { createNetwork, type Network } from "../compose/network.ts";
import { COMMAND, type Process, run } from "./daemon.ts";

export interface Hosts {
  network: Network;
  addressOf(host: string): string;
  /** Starts a program on a host. nsenter becomes the program, so its process is the program's. */
  inside(host: string, program: string, ...args: string[]): Process;
  /** Runs one to its end; resolves with what it printed. */
  said(host: string, program: string, ...args: string[]): Promise<string>;
  /** `heddle …` on a host. */
  heddle(host: string, ...args: string[]): Process;
  /** A JSON answer of the agent on a host. */
  api<T>(host: string, path: string, method?: string, body?: object): Promise<T>;
  /** Cuts a host's cable, or plugs it in again. */
  plug(host: string, state: "down" | "up"): void;
  close(): void;
}

export async function createHosts(names: string[]): Promise<Hosts> {
  const network = await createNetwork(names, []);
  const place = (host: string) => ["-t", String(network.namespaces.get(host)?.pid), "--net", "--"];
  const inside: Hosts["inside"] = (host, program, ...args) => run("nsenter", [...place(host), program, ...args]);
  const said: Hosts["said"] = async (host, program, ...args) => {
    const process = inside(host, program, ...args);
    await process.exited;
    return process.output();
  };
  return {
    network,
    addressOf: (host) => network.namespaces.get(host)?.address ?? "",
    inside,
    said,
    heddle: (host, ...args) => inside(host, ...COMMAND, ...args),
    async api<T>(host: string, path: string, method = "GET", body?: object) {
      const data = body ? ["-d", JSON.stringify(body)] : [];
      const text = await said(host, "curl", "-sS", "-X", method, ...data, `http://127.0.0.1:8500${path}`);
      return (text === "" ? undefined : JSON.parse(text)) as T;
    },
    plug(host, state) {
      const leg = `leg${names.indexOf(host)}`;
      execFileSync("nsenter", ["-t", String(network.switchPid), "--net", "ip", "link", "set", leg, state]);
    },
    close: () => network.close(),
  };
}
