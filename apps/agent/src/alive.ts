/**
 * `GET /internal/v1/alive`: how agents see of each other whether they live. Each agent of a mesh on several machines has a
 * small listener for it; the catalog, when it does not hear of an agent, has others ask there.
 */
import { createApiClient, internalTls } from "@heddle/api-client";
import {
  describeError,
  type HttpServer,
  type LiveIdentity,
  type Logger,
  requireRole,
  type RevokedCallers,
  startInternalServer,
} from "@heddle/daemon";

const ALIVE_PATH = "/internal/v1/alive";
const ASKERS = ["agent", "server", "operator"];

export interface AliveOptions {
  host: string;
  /** Tried first; where it is taken, any that is free. */
  port: number;
  identity: LiveIdentity | undefined;
  revoked: RevokedCallers;
  node: string;
  log: Logger;
}

/** Starts the listener. Throws UnavailableError where its address cannot be had. */
export async function startAliveListener({
  host,
  port,
  identity,
  revoked,
  node,
  log,
}: AliveOptions): Promise<HttpServer> {
  const body = JSON.stringify({ node });
  const listen = (on: number) =>
    startInternalServer({
      host,
      port: on,
      identity,
      revoked,
      parts: [
        {
          async handle(req, res) {
            if (req.url !== ALIVE_PATH || req.method !== "GET") return false;
            await requireRole(req, ASKERS);
            res
              .writeHead(200, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) })
              .end(body);
            return true;
          },
        },
      ],
      log,
    });
  try {
    return await listen(port);
  } catch (error) {
    log.info("serf_lan port is taken, others will ask on another one whether this node lives", {
      ...{ port, error: describeError(error) },
    });
    return listen(0);
  }
}

/** Asks another agent whether it lives. Rejects with the reason where it cannot be reached or is not the node that is meant. */
export async function askAlive(
  { node, url, timeoutMs }: { node: string; url: string; timeoutMs: number },
  identity: LiveIdentity | undefined,
): Promise<void> {
  // Certificates of agents carry no addresses: who answers is told by the role, and by the name in the answer.
  const tls = internalTls(identity, ["agent", "server"]);
  const api = createApiClient({ address: url, tls: tls && (() => ({ ...tls(), serverName: "localhost" })) });
  try {
    const { body } = await api.get<{ node?: string }>(ALIVE_PATH, { timeoutMs });
    if (body.node !== node) throw new Error(`node '${body.node?.slice(0, 100) ?? ""}' answers there`);
  } finally {
    api.close();
  }
}
