/** `heddle agent`: reads the configuration, says what it is about to be, runs until a signal. */
import { createWriteStream, openSync, rmSync, statSync, writeFileSync } from "node:fs";
import { isIPv6 } from "node:net";
import { hostname } from "node:os";
import { type AgentConfig, formatAgentFlags, leaveOnSignal, loadAgentConfig } from "@heddle/agent";
import {
  createLogHub,
  describeError,
  isLoopback,
  type LogHub,
  UnavailableError,
  writeToStandardOutput,
} from "@heddle/daemon";
import { startComposition } from "../compose/agent.ts";
import { usesTls, withHostCertificates } from "../compose/internal-tls.ts";
import { nodeId } from "../compose/node-id.ts";
import { VERSION } from "../version.ts";

export async function run(argv: string[]): Promise<number> {
  if (argv.some((a) => /^--?h(?:elp)?$/.test(a))) {
    process.stdout.write(
      `Usage: heddle agent [options]\n\n  Starts the Heddle agent and runs until an interrupt is received. The agent\n  is the front door of a node: with -dev or -server it runs the servers too.\n\n${formatAgentFlags()}`,
    );
    return 0;
  }
  const readConfig = async (): Promise<AgentConfig> =>
    withHostCertificates(loadAgentConfig({ argv, env: process.env }));
  try {
    return await serve(await readConfig(), readConfig);
  } catch (error) {
    process.stderr.write(`==> ${describeError(error)}\n`);
    return 1;
  }
}

/** Its flags, as its help lists them. */
export const words = formatAgentFlags;

async function serve(read: AgentConfig, readConfig: () => Promise<AgentConfig>): Promise<number> {
  process.umask(0o077);
  const config: AgentConfig = Object.freeze({
    ...read,
    nodeId: read.nodeId || nodeId(read.dataDir),
  });
  process.stdout.write(banner(config));
  const hub = openLog(config);
  const log = hub.log.child("agent");
  for (const warning of config.warnings) log.warn(warning);
  // Before anything is started: a signal that comes meanwhile is answered once it is.
  const stopped = signalled();
  const waiting = new AbortController();
  void stopped.then(() => waiting.abort());
  const running = await startComposition(config, {
    hub,
    version: VERSION,
    readConfig: async () => ({ ...(await readConfig()), nodeId: config.nodeId }),
    signal: waiting.signal,
  }).catch((error: unknown) => {
    if (!waiting.signal.aborted) throw error;
    log.info("told to end before it was started");
  });
  if (!running) return 0;
  if (config.pidFile)
    orExplain(`cannot write the pid file ${config.pidFile}`, () =>
      writeFileSync(config.pidFile, String(process.pid), { mode: 0o644 }),
    );
  log.info("Heddle agent running!", { node: config.nodeName, node_id: config.nodeId });
  process.on("SIGHUP", () => {
    log.info("Caught signal", { signal: "hangup" });
    running
      .reload()
      .catch((error: unknown) =>
        log.error("reload failed, everything goes on as before", { error: describeError(error) }),
      );
  });
  const signal = await Promise.race([stopped, running.left.then(() => "leave" as const)]);
  log.info("Caught signal", { signal: SIGNAL_NAMES[signal] });
  if (signal !== "leave") await leaveOnSignal(running, { config, signal, log });
  for (const again of ["SIGINT", "SIGTERM"] as const) process.once(again, () => process.exit(1));
  const deadline = setTimeout(() => process.exit(0), SHUTDOWN_GRACE_MS);
  deadline.unref();
  await running.close();
  if (config.pidFile) rmSync(config.pidFile, { force: true });
  log.info("Exit code", { code: 0 });
  return 0;
}

const SHUTDOWN_GRACE_MS = 4_500; // below the 5 s after which an orchestrator's SIGKILL is common

// As Consul's log names them.
const SIGNAL_NAMES = { SIGTERM: "terminated", SIGINT: "interrupt", leave: "leave" } as const;

function signalled(): Promise<"SIGINT" | "SIGTERM"> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => resolve(signal));
  });
}

function openLog(config: AgentConfig): LogHub {
  const { level, json, file } = config.log;
  if (!file) return createLogHub({ level, json });
  const path = file.endsWith("/") || isDirectory(file) ? `${file.replace(/\/?$/, "/")}heddle-${Date.now()}.log` : file;
  const fd = orExplain(`cannot write the log file ${path}`, () => openSync(path, "a", 0o600));
  const stream = createWriteStream(path, { fd });
  stream.on("error", (error) => process.stderr.write(`==> cannot write the log file ${path}: ${error.message}\n`));
  return createLogHub({
    level,
    json,
    write(line) {
      writeToStandardOutput(line);
      stream.write(line);
    },
  });
}

function orExplain<T>(what: string, act: () => T): T {
  try {
    return act();
  } catch (cause) {
    throw new UnavailableError(what, { cause });
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function banner(config: AgentConfig): string {
  const { ports } = config;
  const clients = config.addresses.http.join(" ");
  const isTls = usesTls(config);
  const internal = isTls ? config.bindAddr : isLoopback(config.bindAddr) ? config.bindAddr : "127.0.0.1";
  const rows: [string, string][] = [
    ["Version", `'${VERSION}'`],
    ["Node ID", `'${config.nodeId}'`],
    ["Node name", `'${config.nodeName || hostname()}'`],
    ["Datacenter", `'${config.datacenter}' (Segment: '${config.server ? "<all>" : ""}')`],
    ["Server", `${config.server} (Bootstrap: ${config.bootstrap})`],
    ["Client Addr", `[${clients}] (HTTP: ${ports.http}, HTTPS: ${ports.https}, gRPC: -1, DNS: ${ports.dns})`],
    [
      "Cluster Addr",
      `${config.advertiseAddr} (${config.server ? `Internal API: ${isIPv6(internal) ? `[${internal}]` : internal}:${ports.server}` : "Internal API: none"}, LAN: ${ports.serfLan}, WAN: ${ports.serfWan})`,
    ],
    ["Encrypt", `Gossip: none, TLS-Outgoing: ${isTls}, TLS-Incoming: ${isTls}, Mesh: mutual TLS`],
  ];
  const lines = rows.map(([name, value]) => `${name.padStart(18)}: ${value}`);
  return `==> Starting Heddle agent...\n${lines.join("\n")}\n\n==> Log data will now stream in as it occurs:\n\n`;
}
