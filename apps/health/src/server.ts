/** Starts the health checker as a daemon of its own: one internal listener with the checks' WebSocket and the operator's routes. */
import { readFileSync } from "node:fs";
import {
  createRegistry,
  InvalidArgumentError,
  followIdentityFiles,
  type Clock,
  type Logger,
  requireTlsOffLoopback,
  type Running,
  startInternalServer,
  startOpsServer,
} from "@heddle/daemon";
import { createHealthChecker } from "./checker.ts";
import type { HealthConfig } from "./config.ts";

export interface HealthDeps {
  log: Logger;
  clock?: Clock;
}

/** Resolves when it serves. Throws UnavailableError for a port that it cannot have, InvalidArgumentError for its TLS files. */
export async function start(config: HealthConfig, { log, clock }: HealthDeps): Promise<Running> {
  await using stack = new AsyncDisposableStack();
  const identity = stack.use(followIdentityFiles(config, log));
  requireTlsOffLoopback(config.host, identity);
  const registry = createRegistry("health");
  const checker = createHealthChecker({
    log,
    registry,
    scripts: config.enableScriptChecks,
    maxChecks: config.maxChecks,
    maxConcurrent: config.maxConcurrent,
    maxConcurrentPrograms: config.maxConcurrentPrograms,
    minIntervalMs: config.minInterval,
    outputMaxBytes: config.checkOutputMaxSize,
    scriptEnv: config.scriptEnv,
    env: config.env,
    allowLinkLocal: config.allowLinkLocal,
    damping: !config.noFlapDamping,
    dockerHost: config.dockerHost,
    ...(config.checkCaFile && { targetCaPem: readPem(config.checkCaFile) }),
    ...(clock && { clock }),
  });
  const health = () => ({ checker: checker.health() });

  const server = await startInternalServer({
    host: config.host,
    port: config.port,
    identity,
    // Its WebSocket asks for the agent's role itself.
    parts: [{ upgrade: (...request) => checker.handleUpgrade(...request) }],
    ops: { registry, health },
    log,
  });
  stack.defer(() => server.close());
  stack.defer(() => checker.close());
  stack.use(await startOpsServer({ host: config.metricsHost, port: config.metricsPort, registry, health, log }));
  log.info("health checker is serving", { address: server.url, scripts: config.enableScriptChecks });
  const owned = stack.move();
  const close = () => owned.disposeAsync();
  return { url: server.url, health, close, [Symbol.asyncDispose]: close };
}

function readPem(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new InvalidArgumentError(`cannot read ${path} (-check-ca-file)`, { cause });
  }
}
