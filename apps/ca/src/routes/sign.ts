/** POST /internal/v1/ca/sign: an agent's request becomes a leaf. */
import type { IncomingMessage, ServerResponse } from "node:http";
import {
  type Caller,
  describeError,
  HeddleError,
  InvalidArgumentError,
  type Logger,
  PermissionDeniedError,
  readJson,
  requireRole,
  sendJson,
  toInternalError,
} from "@heddle/daemon";
import { parseCsr } from "@heddle/tls";
import { type IdentityRule, type Issuer, servicesOnly } from "../issuer.ts";
import type { Joining } from "../join/joining.ts";

/** Whether a service, or a proxy of it, is registered on a node. */
export type RunsOn = (node: string, service: string) => Promise<boolean> | boolean;

const PATH = "/internal/v1/ca/sign";
const MAX_BODY_BYTES = 64 * 1024; // a request of 16 KiB, however JSON escapes it
const CALLERS = ["agent", "server"];

export interface SignRouteOptions {
  issuer: Issuer;
  joining: Joining | undefined;
  /** Asked for agents, which get certificates for what runs on their node alone. */
  runsOn: RunsOn;
  log: Logger;
}

/** Answers the internal path; false where the request is for another. */
export function signRoute({
  issuer,
  joining,
  runsOn,
  log,
}: SignRouteOptions): (req: IncomingMessage, res: ServerResponse) => boolean {
  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    if (req.method !== "POST") {
      res.setHeader("Allow", "POST");
      throw new HeddleError("method_not_allowed", `method ${req.method} not allowed: want POST`);
    }
    const caller = await requireRole(req, CALLERS);
    const name = nameOf(req, caller);
    issuer.admit(name);
    const { csr } = ((await readJson(req, MAX_BODY_BYTES)) ?? {}) as { csr?: unknown };
    if (typeof csr !== "string")
      throw new InvalidArgumentError("want a JSON object with 'csr', a PEM certificate request");
    if (caller?.role !== "agent") return sendJson(res, 200, await issuer.sign(csr, name));
    const { node } = caller;
    if (node === undefined)
      throw new PermissionDeniedError(
        "the certificate of role 'agent' names no node, so nothing is known to run there: make one with 'heddle tls cert create -client -node NAME'",
      );
    const isOwn = csrKind(csr) === "agent" && joining;
    sendJson(res, 200, isOwn ? await isOwn.renew(csr, node, name) : await issuer.sign(csr, name, onNode(node, runsOn)));
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

/** An agent's rule: services that are registered on its node, and no others. */
const onNode =
  (node: string, runsOn: RunsOn): IdentityRule =>
  async (id) => {
    if (id.kind !== "service") return servicesOnly(id);
    if (await runsOn(node, id.service)) return undefined;
    return `no service '${id.service}' is registered on node '${node}', whose agent asks for it: register it there first`;
  };

function csrKind(csr: string): string | undefined {
  try {
    return parseCsr(csr).id.kind;
  } catch {
    return undefined; // the issuer says what is wrong with it
  }
}

/** Who calls, for the log. */
export function nameOf({ socket }: IncomingMessage, caller: Caller | undefined): string {
  const address = socket.remoteAddress ?? "unknown";
  return caller ? `${caller.role}${caller.node ? ` of node '${caller.node}'` : ""} at ${address}` : address;
}
