/** The agent alone, beside daemons that run by themselves: `node src/main.ts -help`. `heddle agent` composes them in one process. */
import { createLogHub, describeError, followIdentityFiles, InvalidArgumentError, runUntilSignal } from "@heddle/daemon";
import { type AgentConfig, formatAgentFlags, loadAgentConfig } from "./config/index.ts";
import { leaveOnSignal } from "./leave.ts";
import { nodeId } from "./node-id.ts";
import { start } from "./server.ts";

const VERSION = "0.1.0";

export async function main(argv: string[]): Promise<number> {
  if (argv.some((a) => /^--?h(?:elp)?$/.test(a))) {
    process.stdout.write(
      `Usage: node src/main.ts [options]\n\n  Runs the agent alone: its servers are elsewhere.\n\n${formatAgentFlags()}`,
    );
    return 0;
  }
  try {
    process.umask(0o077);
    const read = loadAgentConfig({ argv, env: process.env });
    const servers = serversOf(read);
    const config: AgentConfig = Object.freeze({ ...read, nodeId: read.nodeId || nodeId(read.dataDir) });
    const hub = createLogHub({ level: config.log.level, json: config.log.json });
    const log = hub.log.child("agent");
    for (const warning of config.warnings) log.warn(warning);
    const identity = followIdentityFiles(config.tls, log);
    const starting = start(config, {
      hub,
      version: VERSION,
      servers,
      identity,
      readConfig: async () => ({ ...loadAgentConfig({ argv, env: process.env }), nodeId: config.nodeId }),
    });
    let [hasLeft, isEnding] = [false, false];
    starting.then(
      ({ left }) => {
        log.info("agent is serving", { node: config.nodeName, ...servers });
        void left.then(() => {
          hasLeft = true;
          if (!isEnding) process.kill(process.pid, "SIGTERM");
        });
      },
      () => {},
    );
    return await runUntilSignal(starting, {
      log,
      reload: async () => (await starting).reload(),
      beforeClose: async (signal) => {
        isEnding = true;
        if (!hasLeft) await leaveOnSignal(await starting, { config, signal, log });
      },
    });
  } catch (error) {
    process.stderr.write(`${describeError(error)}\n`);
    return 1;
  }
}

/** Throws InvalidArgumentError naming every daemon that has no address. */
function serversOf({ server, devMode, internal }: AgentConfig): { catalog: string; ca: string; health: string } {
  if (server || devMode)
    throw new InvalidArgumentError(
      "-dev and -server run the other daemons too: that is 'heddle agent'; here the agent is alone",
    );
  const servers = { catalog: internal.catalogAddr, ca: internal.caAddr, health: internal.healthAddr };
  const missing = Object.entries(servers).filter(([, url]) => url === "");
  if (missing.length > 0)
    throw new InvalidArgumentError(
      missing.map(([name]) => `-${name}-addr is missing: the agent alone needs the URL of a ${name} daemon`).join("\n"),
    );
  return servers;
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
