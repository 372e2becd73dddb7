/** What the compose test needs of the machine, and the reason to skip where something is missing. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const COMMANDS: Record<string, string> = {
  ip: "iproute2",
  nsenter: "util-linux",
  setpriv: "util-linux",
  tcpdump: "tcpdump",
  unshare: "util-linux",
};

/** The Prometheus to run: one that was built with consul_sd_configs, which Debian's own is not since bookworm. */
export function findPrometheus(): string | undefined {
  const { HEDDLE_PROMETHEUS, PEERS_DIR, XDG_CACHE_HOME = join(homedir(), ".cache") } = process.env;
  const peers = PEERS_DIR ?? join(XDG_CACHE_HOME, "heddle-peers");
  const candidates = [HEDDLE_PROMETHEUS ?? "", join(peers, "prometheus/usr/bin/prometheus"), "/usr/bin/prometheus"];
  return candidates.find((path) => existsSync(path) && readFileSync(path).includes("discovery/consul"));
}

/** Why network namespaces cannot be made here, naming the packages; undefined where they can. */
export function missingNamespaces(): string | undefined {
  if (process.platform !== "linux") return "needs Linux";
  if (process.getuid?.() !== 0) return "needs root, for network namespaces";
  const packages = new Set<string>();
  for (const [command, name] of Object.entries(COMMANDS))
    if (spawnSync("sh", ["-c", `command -v ${command}`]).status !== 0) packages.add(name);
  if (packages.size > 0) return `needs the packages ${[...packages].join(", ")}`;
  try {
    execFileSync("unshare", ["--net", "--mount", "true"], { stdio: "pipe" });
  } catch (error) {
    return `needs to make network and mount namespaces: ${(error as { stderr?: Buffer }).stderr?.toString().trim() ?? ""}`;
  }
  return undefined;
}

/** Why the test cannot run here; undefined where it can. */
export function missing(): string | undefined {
  const reason = missingNamespaces();
  if (reason !== undefined) return reason;
  if (!findPrometheus())
    return "needs prometheus with consul_sd_configs (package prometheus of Debian bullseye): run tools/install-test-tools.sh";
  return undefined;
}
