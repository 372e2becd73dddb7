/**
 * Joining: a node without a certificate comes with a token and a certificate request for its agent's identity, over TLS on which
 * it has recognised the server by its root. The two paths here are all that callers without a certificate come to.
 */
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import {
  type Clock,
  decodeObject,
  describeError,
  HeddleError,
  type InternalPart,
  InvalidArgumentError,
  type Logger,
  PermissionDeniedError,
  readJson,
  sendJson,
  toInternalError,
} from "@heddle/daemon";
import type { SpiffeId } from "@heddle/spiffe";
import type { Store } from "@heddle/store";
import type { CsrFacts } from "@heddle/tls";
import type { Authority } from "../authority.ts";
import type { Issuer, SignedLeaf } from "../issuer.ts";
import { admit, renew, splitToken } from "./tokens.ts";

const ROOTS_PATH = "/internal/v1/join/roots";
const JOIN_PATH = "/internal/v1/join";
const MAX_BODY_BYTES = 64 * 1024;
const FIELDS = { Node: "string", Csr: "string", Token: "string" } as const;

export interface JoiningOptions {
  store: Store;
  authority: Authority;
  issuer: Issuer;
  /** Whether a node of this name is alive, joined or not. */
  isAlive: (node: string) => boolean;
  clock: Clock;
  log: Logger;
}

/** What a node that has joined is told. */
export interface Joined extends SignedLeaf {
  /** All roots that are trusted, as PEM. */
  roots: string[];
}

export interface Joining {
  /** For the internal listener: the paths that are open to callers without a certificate. */
  open: InternalPart;
  /** Signs the request of a node that is connected by its certificate, for its own identity. */
  renew(csrPem: string, node: string, caller: string): Promise<SignedLeaf>;
}

export function createJoining({ store, authority, issuer, isAlive, clock, log }: JoiningOptions): Joining {
  const rootPems = () => authority.roots().map(({ value }) => value.certPem);
  const join = async (req: IncomingMessage): Promise<Joined> => {
    const body = decodeObject(await readJson(req, MAX_BODY_BYTES), FIELDS);
    const [node, csr, token] = (["Node", "Csr", "Token"] as const).map(
      (key) => (body[key] as string | undefined) ?? "",
    );
    const peer = req.socket.remoteAddress ?? "unknown";
    const who = { node, peer, token: splitToken(token ?? "").id };
    try {
      if (!node || !csr) throw new InvalidArgumentError("want the node's name and a certificate request");
      let admittedBy: string | undefined;
      const leaf = await issuer.sign(csr, `node '${node}' at ${peer}, joining`, async (id, facts) => {
        const why = notOwn(id, node);
        if (why) return why;
        const joiner = { node, keyId: keyIdOf(facts), token: token ?? "", isTaken: isAlive(node) };
        admittedBy = (await store.run(admit(joiner, clock.now()))).result;
        return undefined;
      });
      log.info("a node has joined", { ...who, token: admittedBy, serial: leaf.serial });
      return { ...leaf, roots: rootPems() };
    } catch (error) {
      log.warn("refused a node that wants to join", { ...who, reason: describeError(error) });
      throw error;
    }
  };
  const answer = async (req: IncomingMessage, res: ServerResponse, path: string): Promise<void> => {
    const method = path === JOIN_PATH ? "POST" : "GET";
    if (req.method !== method) {
      res.setHeader("Allow", method);
      throw new HeddleError("method_not_allowed", `method ${req.method} not allowed: want ${method}`);
    }
    sendJson(res, 200, path === JOIN_PATH ? await join(req) : { roots: rootPems() });
  };
  return {
    open: {
      async handle(req, res) {
        const path = req.url?.split("?")[0];
        if (path !== JOIN_PATH && path !== ROOTS_PATH) return false;
        await answer(req, res, path).catch((error: unknown) => {
          const { status, body } = toInternalError(error);
          if (res.headersSent || res.destroyed) return void res.destroy();
          sendJson(res, status, body);
        });
        return true;
      },
    },
    renew: (csrPem, node, caller) =>
      issuer.sign(csrPem, caller, async (id, facts) => {
        const why = notOwn(id, node);
        if (!why) await store.run(renew({ node, keyId: keyIdOf(facts) }, clock.now()));
        return why;
      }),
  };
}

function notOwn(id: SpiffeId, node: string): string | undefined {
  if (id.kind !== "agent" || id.partition !== undefined)
    return `a node gets an agent's identity, not that of a ${id.kind}`;
  return id.node === node ? undefined : `the agent of node '${node}' may not be '${id.node}'`;
}

const keyIdOf = ({ spki }: CsrFacts): string => createHash("sha256").update(spki).digest("hex");

/** Where nodes cannot join this way, the rows of tokens say so. */
export function noJoining(): never {
  throw new PermissionDeniedError(
    "nodes cannot join this server by a token: it serves the internal API on loopback only (give -bind=ADDRESS), or with certificates of another CA (then the agent's come from 'heddle tls cert create -client -node NAME')",
  );
}
