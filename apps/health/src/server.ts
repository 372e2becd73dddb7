/** Starts the health checker as a daemon of its own: one internal listener with the checks' WebSocket and the operator's routes. */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { createApiClient, followRevocations, followServerNames, internalTls, watchForHangs } from "@heddle/api-client";
import {
  createRegistry,
  InvalidArgumentError,
  isLoopback,
  type LiveIdentity,
  followIdentityFiles,
  type Clock,
  type Logger,
  requireTlsOffLoopback,
  type RevokedCallers,
  type Running,
  startInternalServer,
  startOpsServer,
} from "@heddle/daemon";
import { createHealthChecker, type HealthChecker } from "./checker.ts";
import type { HealthConfig } from "./config.ts";
import type { ExternalChecks } from "./external/external.ts";
import { findScriptUser } from "./script-user.ts";

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
    scriptUser: config.scriptUser === "" ? undefined : await findScriptUser(config.scriptUser),
    env: config.env,
    allowLinkLocal: config.allowLinkLocal,
    redirectsElsewhere: config.followRedirectsElsewhere,
    damping: !config.noFlapDamping,
    dockerHost: config.dockerHost,
    ...(config.checkCaFile && { targetCaPem: readPem(config.checkCaFile) }),
    ...(clock && { clock }),
  });
  const revoked =
    identity && config.caUrl !== "" ? await followRevoked(config.caUrl, { stack, identity, log }) : undefined;
  if (config.external) stack.use(await followServerNames(config.catalogUrl, log));
  const external = config.external && stack.use(await startExternal(config, { checker, identity, log }));
  const health = () => ({ checker: checker.health(), ...(external && { external: external.health() }) });

  const server = await startInternalServer({
    host: config.host,
    port: config.port,
    identity,
    revoked,
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

interface FollowDeps {
  stack: AsyncDisposableStack;
  identity: LiveIdentity;
  log: Logger;
}

async function followRevoked(caUrl: string, { stack, identity, log }: FollowDeps): Promise<RevokedCallers> {
  stack.use(await followServerNames(caUrl, log));
  const ca = createApiClient({ address: caUrl, tls: internalTls(identity, ["ca", "server"]), log });
  stack.defer(() => ca.close());
  stack.use(watchForHangs(ca, caUrl));
  return stack.use(followRevocations(ca, { log })).callers;
}

/** Loaded only where it is asked for. */
async function startExternal(
  { catalogUrl, externalId, maxChecks }: HealthConfig,
  { checker, identity, log }: { checker: HealthChecker; identity: LiveIdentity | undefined; log: Logger },
): Promise<ExternalChecks> {
  for (const url of catalogUrl.split(",").map((text) => new URL(text)))
    if (url.protocol !== "https:" && !isLoopback(url.hostname.replace(/^\[|\]$/g, "")))
      throw new InvalidArgumentError(`refusing to reach the catalog in plain text at ${url.origin}: use https`);
  const { checkExternal } = await import("./external/external.ts");
  const { internalClientOptions } = await import("@heddle/tls");
  const tls = (live: LiveIdentity) => internalClientOptions({ ...live.current(), serverRoles: ["catalog", "server"] });
  return checkExternal({
    url: catalogUrl,
    id: externalId || `${hostname()}-${process.pid}`,
    maxChecks,
    tls: identity && (() => tls(identity)),
    openSet: (onResult) => checker.openSet(onResult),
    log: log.child("external"),
  });
}

function readPem(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new InvalidArgumentError(`cannot read ${path} (-check-ca-file)`, { cause });
  }
}
