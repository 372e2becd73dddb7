/**
 * Asking to join: the server is recognised by its root before anything is told to it. First the roots are fetched from whoever
 * answers, and only the one with the fingerprint counts; then a connection that has to lead to it carries request and token.
 */
import { createHash } from "node:crypto";
import { type ApiClient, ApiError, createApiClient, type TlsSettings } from "@heddle/api-client";
import { describeError, InvalidArgumentError, type JoinLine, UnavailableError } from "@heddle/daemon";
import { IdentityError, parseSpiffeId } from "@heddle/spiffe";
import { certificatesToDer, readCertificate } from "@heddle/tls";

const TIMEOUT_MS = 10_000;
const MAX_ANSWER_BYTES = 256 * 1024;

/** What a node that has joined is told. */
export interface Joined {
  certPem: string;
  chainPem: string[];
  roots: string[];
  rootId: string;
  notBefore: string;
  notAfter: string;
}

/** A refusal, which asking again does not change. */
export class JoinRefusedError extends InvalidArgumentError {}

/** Fetches the root with the fingerprint. Throws JoinRefusedError where the server has none, UnavailableError where it is away. */
export async function fetchRoot({ address, fingerprint }: JoinLine): Promise<string> {
  // Whoever answers is not trusted: a root proves itself by its fingerprint.
  const { roots } = await withClient(address, { verify: false }, async (client) => {
    const { body } = await client.get<{ roots?: unknown }>("/internal/v1/join/roots", { timeoutMs: TIMEOUT_MS });
    return body;
  });
  const pems = Array.isArray(roots) ? roots.filter((pem): pem is string => typeof pem === "string") : [];
  const found = pems.map(fingerprintOf);
  const at = found.indexOf(fingerprint);
  if (at >= 0) return pems[at] as string;
  throw new JoinRefusedError(
    `the server at ${address} is not the one that is meant: its roots are ${found.map((f) => `sha256:${f}`).join(", ") || "none"}, wanted sha256:${fingerprint}. Either somebody stands between, or the root was replaced: then 'heddle token join' prints a new line`,
  );
}

export interface JoinRequest {
  address: string;
  /** The roots by which the server is recognised. */
  roots: string[];
  node: string;
  csr: string;
  token: string;
}

/** Asks for this node's certificate. Throws JoinRefusedError with the server's reason, UnavailableError where it is away. */
export function askToJoin({ address, roots, node, csr, token }: JoinRequest): Promise<Joined> {
  return withClient(address, { ca: roots, serverRoles: ["server"] }, async (client) => {
    const body = { Node: node, Csr: csr, ...(token && { Token: token }) };
    return (await client.post<Joined>("/internal/v1/join", { body, timeoutMs: TIMEOUT_MS })).body;
  });
}

/** The trust domain that a root is of. Throws IdentityError. */
export function trustDomainOf(rootPem: string): string {
  const [der] = certificatesToDer(rootPem, "root certificate");
  const [uri] = der ? readCertificate(der).altNames.uris : [];
  if (uri === undefined) throw new IdentityError("the root has no SPIFFE ID");
  return parseSpiffeId(uri).trustDomain;
}

function fingerprintOf(pem: string): string {
  try {
    const [der] = certificatesToDer(pem);
    return createHash("sha256")
      .update(der ?? "")
      .digest("hex");
  } catch {
    return "";
  }
}

async function withClient<T>(address: string, tls: TlsSettings, ask: (client: ApiClient) => Promise<T>): Promise<T> {
  const client = createApiClient({ address: `https://${address}`, tls, maxBodyBytes: MAX_ANSWER_BYTES });
  try {
    return await ask(client);
  } catch (cause) {
    if (cause instanceof ApiError && cause.status >= 400 && cause.status < 500 && cause.status !== 429)
      throw new JoinRefusedError(`the server at ${address} refuses: ${reasonOf(cause)}`, { cause });
    if (isWrongServer(cause))
      throw new JoinRefusedError(
        `the server at ${address} is not recognised by the roots that this node knows: ${describeError(cause)}`,
        { cause },
      );
    throw new UnavailableError(`cannot join at ${address}: ${describeError(cause)}`, { cause });
  } finally {
    client.close();
  }
}

function reasonOf({ body }: ApiError): string {
  try {
    return (JSON.parse(body) as { error: { message: string } }).error.message;
  } catch {
    return body;
  }
}

/** A handshake that failed for who the server is, and not for the way there. */
function isWrongServer(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (at instanceof IdentityError) return true;
    const { code = "" } = at as NodeJS.ErrnoException;
    // Not those of a date: a clock that is wrong now will be right later.
    if (/^(?:UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|CERT_UNTRUSTED|ERR_TLS_CERT)/.test(code)) return true;
  }
  return false;
}
