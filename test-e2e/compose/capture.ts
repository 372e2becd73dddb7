/** tcpdump on the bridge: every frame between two namespaces. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DIE_WITH_PARENT, type Network } from "./network.ts";

export interface Capture {
  /** True once `text` went over the bridge in the clear. */
  contains(text: string): boolean;
  stop(): Promise<void>;
}

export async function startCapture(network: Network, folder: string): Promise<Capture> {
  const file = join(folder, "bridge.pcap");
  const enter = ["-t", String(network.switchPid), "--net", "--", ...DIE_WITH_PARENT];
  const options = ["-i", network.bridge, "-Z", "root", "-U", "-s", "0", "-w", file, "tcp"];
  const tcpdump = spawn("nsenter", [...enter, "tcpdump", ...options], { stdio: ["ignore", "ignore", "pipe"] });
  await once(tcpdump.stderr, "data"); // "listening on …"
  return {
    contains: (text) => readFileSync(file).includes(text),
    async stop() {
      tcpdump.kill("SIGINT");
      await once(tcpdump, "exit");
    },
  };
}
