/**
 * The health checker: agents connect to `/internal/v1/checks`, sync the checks of their node, and are told what changes. It
 * binds nothing: a daemon of its own or a composition mounts `handleUpgrade` on its internal listener.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { createSecureContext, rootCertificates, type SecureContext, TLSSocket } from "node:tls";
import {
  type Clock,
  createRegistry,
  describeError,
  type Health,
  type Logger,
  requireRole,
  systemClock,
} from "@heddle/daemon";
import type { Registry } from "prom-client";
import { WebSocketServer } from "ws";
import { type CheckSet, type CheckSetDeps, createCheckSet } from "./check-set.ts";
import { serveConnection } from "./connection.ts";
import { createCheckMetrics } from "./metrics.ts";
import { DEFAULT_OUTPUT_MAX_BYTES } from "./output.ts";
import { isSameUser } from "./peer-user.ts";
import { createPipeSupply } from "./pipes.ts";
import { createScheduler } from "./scheduler.ts";
import { scriptEnvironment } from "./script-environment.ts";
import { createScriptUsers, type ScriptUser } from "./script-user.ts";

export const CHECKS_PATH = "/internal/v1/checks";
export const DEFAULT_MAX_CHECKS = 20_000;
export const DEFAULT_MAX_CONCURRENT = 1_000; // a target that drops packets holds a slot for 10 s: a hundred such are no reason to stall
export const DEFAULT_MAX_CONCURRENT_PROGRAMS = 64;
export const DEFAULT_MIN_INTERVAL_MS = 1_000; // Consul's: a shorter interval is raised to it, with a warning
const MAX_CONNECTIONS = 256;
const MAX_MESSAGE_BYTES = 32 * 1024 * 1024; // 20,000 definitions of a KiB and a half
const PING_INTERVAL_MS = 15_000;

/** Consul's words for a script that it refuses to register. */
const SCRIPTS_DISABLED =
  "Scripts are disabled on this agent; to enable, configure 'enable_script_checks' or 'enable_local_script_checks' to true";
const SCRIPTS_OF_OTHERS =
  "Scripts are refused: the agent must run as the health checker's user, or connect with mutual TLS";

const SCRIPTS_OF_EXTERNALS = "Scripts are refused: nobody's program runs for a node without an agent";

export interface HealthCheckerOptions {
  log: Logger;
  /** True: script and Docker checks run. */
  scripts: boolean;
  clock?: Clock;
  /** Roles of those who may bring checks over mutual TLS; agents and servers by default. */
  callers?: readonly string[];
  /** Where metrics are registered; one of its own by default. */
  registry?: Registry;
  /** Most checks of all connections together. */
  maxChecks?: number;
  maxConcurrent?: number;
  maxConcurrentPrograms?: number;
  minIntervalMs?: number;
  /** Cap of a check's output; a check may ask for less. */
  outputMaxBytes?: number;
  /** Names of environment variables that scripts get beside PATH and its like. */
  scriptEnv?: readonly string[];
  /** Whom scripts run as; this process's own user by default. */
  scriptUser?: ScriptUser | undefined;
  /** Where they are taken from; this process's environment by default. */
  env?: Record<string, string | undefined>;
  /** PEM of CAs that targets may have, beside the runtime's own. */
  targetCaPem?: string;
  allowLinkLocal?: boolean;
  /** True: HTTP checks follow redirects to other hosts. */
  redirectsElsewhere?: boolean;
  /** False: a check that comes and goes is told as it is each time. */
  damping?: boolean;
  dockerHost?: string;
}

export interface HealthChecker {
  readonly registry: Registry;
  /** Takes the connection over when it asks for the checks' WebSocket; false where it asks for something else. */
  handleUpgrade(req: IncomingMessage, socket: Socket, head: Buffer): boolean;
  /** A set of checks that no agent brings, for nodes without one; nothing in it runs a program. The caller closes it. */
  openSet(onResult: CheckSetDeps["onResult"]): CheckSet;
  health(): Health;
  /** Closes every connection and resolves when no probe is under way. */
  close(): Promise<void>;
}

export function createHealthChecker(options: HealthCheckerOptions): HealthChecker {
  const { clock = systemClock, env = process.env, log, scripts } = options;
  const registry = options.registry ?? createRegistry("health");
  const maxChecks = options.maxChecks ?? DEFAULT_MAX_CHECKS;
  const flapping = new Set<object>();
  const sizes = new Map<object, () => number>();
  const countChecks = () => sizes.values().reduce((sum, size) => sum + size(), 0);
  const server = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE_BYTES, perMessageDeflate: false });
  const metrics = createCheckMetrics(registry, {
    checks: countChecks,
    connections: () => sizes.size,
    running: () => scheduler.running,
    waiting: () => scheduler.waiting,
    flapping: () => flapping.size,
  });
  const scheduler = createScheduler({
    clock,
    limits: {
      socket: options.maxConcurrent ?? DEFAULT_MAX_CONCURRENT,
      program: options.maxConcurrentPrograms ?? DEFAULT_MAX_CONCURRENT_PROGRAMS,
    },
    onStart: (latenessMs) => metrics.late(latenessMs),
  });
  const pipes = createPipeSupply();
  const probing = {
    clock,
    outputMaxBytes: options.outputMaxBytes ?? DEFAULT_OUTPUT_MAX_BYTES,
    scriptEnv: scriptEnvironment(env, options.scriptEnv ?? []),
    scriptUsers: createScriptUsers(options.scriptUser),
    pipes,
    allowLinkLocal: options.allowLinkLocal ?? false,
    redirectsElsewhere: options.redirectsElsewhere ?? false,
    dockerHost: options.dockerHost || env.DOCKER_HOST || "unix:///var/run/docker.sock",
    roots: targetRoots(options.targetCaPem),
  };
  const openSet = (onResult: CheckSetDeps["onResult"], scriptsRefused: string | undefined) =>
    createCheckSet({
      ...{ scheduler, probing, flapping, metrics, log, onResult, scriptsRefused },
      minIntervalMs: options.minIntervalMs ?? DEFAULT_MIN_INTERVAL_MS,
      damping: options.damping ?? true,
    });
  let closed: Promise<void> | undefined;

  const accept = async (req: IncomingMessage, socket: Socket, head: Buffer) => {
    // Browsers always say where they come from: no page that somebody visits may talk to a daemon on loopback.
    if (req.headers.origin !== undefined) return refuse(socket, "403 Forbidden", "browsers may not connect here");
    if (closed !== undefined || sizes.size >= MAX_CONNECTIONS)
      return refuse(
        socket,
        "503 Service Unavailable",
        closed ? "closing" : `at most ${MAX_CONNECTIONS} agents may connect`,
      );
    try {
      await requireRole(req, options.callers ?? ["agent", "server"]);
    } catch (error) {
      log.warn("refused a connection for checks", { peer: socket.remoteAddress, reason: describeError(error) });
      return refuse(socket, "403 Forbidden", describeError(error));
    }
    const isTrusted = scripts && (socket instanceof TLSSocket || isSameUser(socket));
    server.handleUpgrade(req, socket, head, (client) => {
      const agent = `${socket.remoteAddress}:${socket.remotePort}`;
      log.info("an agent is connected", { agent });
      const connection = serveConnection(client, {
        clock,
        log,
        pingIntervalMs: PING_INTERVAL_MS,
        allowance: () => maxChecks - countChecks() + (sizes.get(client)?.() ?? 0),
        openSet: (onResult) =>
          openSet(onResult, isTrusted ? undefined : scripts ? SCRIPTS_OF_OTHERS : SCRIPTS_DISABLED),
        onClose: (reason) => {
          sizes.delete(client);
          log.info("an agent is gone, its checks end", { agent, reason });
        },
      });
      sizes.set(client, connection.size);
    });
  };

  const close = async () => {
    for (const client of server.clients) client.close(1001, "the health checker is closing");
    await scheduler.close();
    pipes.close();
    for (const client of server.clients) client.terminate();
    server.close();
  };
  return {
    registry,
    handleUpgrade(req, socket, head) {
      if (req.url?.split("?")[0] !== CHECKS_PATH) return false;
      socket.on("error", () => socket.destroy());
      void accept(req, socket, head);
      return true;
    },
    openSet(onResult) {
      const set = openSet(onResult, SCRIPTS_OF_EXTERNALS);
      sizes.set(set, () => set.size);
      const close = () => {
        sizes.delete(set);
        set.close();
      };
      return {
        get size() {
          return set.size;
        },
        sync: (sync) => set.sync(sync),
        close,
      };
    },
    health: () => ({
      started: true,
      live: true,
      ready: closed === undefined,
      details: `${countChecks()} checks of ${sizes.size} agents`,
    }),
    close: () => (closed ??= close()),
  };
}

function refuse(socket: Socket, status: string, why: string): void {
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain\r\nContent-Length: ${Buffer.byteLength(why)}\r\nConnection: close\r\n\r\n${why}`,
  );
}

// Built once and late: reading a hundred and fifty roots takes longer than a probe.
function targetRoots(pem: string | undefined): () => SecureContext | undefined {
  let context: SecureContext | undefined;
  return () =>
    pem ? (context ??= createSecureContext({ ca: [...rootCertificates, pem], minVersion: "TLSv1.2" })) : undefined;
}
