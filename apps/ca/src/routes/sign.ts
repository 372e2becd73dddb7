/** POST /internal/v1/ca/sign: an agent's request becomes a leaf. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { TLSSocket } from "node:tls";
import {
  describeError,
  HeddleError,
  InvalidArgumentError,
  type Logger,
  readJson,
  requireRole,
  sendJson,
  toInternalError,
} from "@heddle/daemon";
import type { Issuer } from "../issuer.ts";

const PATH = "/internal/v1/ca/sign";
const MAX_BODY_BYTES = 64 * 1024; // a request of 16 KiB, however JSON escapes it
const CALLERS = ["agent", "server"];

/** Answers the internal path; false where the request is for another. */
export function signRoute({
  issuer,
  log,
}: {
  issuer: Issuer;
  log: Logger;
}): (req: IncomingMessage, res: ServerResponse) => boolean {
  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    if (req.method !== "POST") {
      res.setHeader("Allow", "POST");
      throw new HeddleError("method_not_allowed", `method ${req.method} not allowed: want POST`);
    }
    await requireRole(req, CALLERS);
    const { csr } = ((await readJson(req, MAX_BODY_BYTES)) ?? {}) as { csr?: unknown };
    if (typeof csr !== "string")
      throw new InvalidArgumentError("want a JSON object with 'csr', a PEM certificate request");
    sendJson(res, 200, await issuer.sign(csr, await callerOf(req)));
  };
  return function handleSign(req, res) {
    if (req.url?.split("?")[0] !== PATH) return false;
    answer(req, res).catch((error: unknown) => {
      const { status, body } = toInternalError(error);
      if (status >= 500) log.error("signing failed", { error: describeError(error) });
      if (res.headersSent || res.destroyed) return void res.destroy();
      sendJson(res, status, body);
    });
    return true;
  };
}

async function callerOf({ socket }: IncomingMessage): Promise<string> {
  const address = socket.remoteAddress ?? "unknown";
  if (!(socket instanceof TLSSocket)) return address;
  const { peerDaemon } = await import("@heddle/tls");
  const daemon = peerDaemon(socket);
  return daemon ? `${daemon.role} of ${daemon.datacenter} at ${address}` : address;
}
