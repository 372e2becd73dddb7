/** HashiCorp Vault's HTTP API, as far as certificates need it: JSON in and out, what Vault says in errors, and never the token. */
import { readFileSync } from "node:fs";
import { Agent as PlainAgent, type ClientRequest, type IncomingMessage, request as httpRequest } from "node:http";
import { Agent as TlsAgent, request as httpsRequest } from "node:https";
import { describeError, HeddleError, UnavailableError } from "@heddle/daemon";
import type { VaultSettings } from "./settings.ts";

const TIMEOUT_MS = 10_000;
const MAX_ANSWER_BYTES = 1024 * 1024;
const MAX_CONNECTIONS = 16;

/** `data` and `auth` of Vault's answers. */
export interface VaultAnswer {
  data: Record<string, unknown>;
  auth: Record<string, unknown>;
}

export interface VaultClient {
  /** Throws UnavailableError, or a HeddleError with what Vault said. */
  read(path: string): Promise<VaultAnswer>;
  write(path: string, body: object): Promise<VaultAnswer>;
  /** A bare answer as it is; undefined where there is nothing: 404, or 204. */
  text(path: string): Promise<string | undefined>;
  close(): void;
}

export function createVaultClient(settings: VaultSettings, token: () => string): VaultClient {
  const { address, namespace, tlsServerName: servername } = settings;
  const url = new URL(address);
  const isTls = url.protocol === "https:";
  const options = { keepAlive: true, maxSockets: MAX_CONNECTIONS };
  const certificates = files(settings);
  const agent = isTls
    ? new TlsAgent({ ...options, ...certificates, ...(servername && { servername }) })
    : new PlainAgent(options);

  const ask = async (method: string, path: string, body?: object): Promise<{ status: number; text: string }> => {
    const bytes = body && Buffer.from(JSON.stringify(body));
    const req = (isTls ? httpsRequest : httpRequest)({
      agent,
      host: url.hostname.replace(/^\[|\]$/g, ""),
      port: url.port || (isTls ? 443 : 80),
      method,
      path: `/v1/${path}`,
      timeout: TIMEOUT_MS,
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: {
        "X-Vault-Token": token(),
        "X-Vault-Request": "true",
        ...(namespace && { "X-Vault-Namespace": namespace }),
        ...(bytes && { "Content-Type": "application/json", "Content-Length": bytes.length }),
      },
    });
    try {
      return await answerOf(req, bytes);
    } catch (cause) {
      throw new UnavailableError(`cannot reach Vault at ${address}: ${without(describeError(cause), token())}`, {
        cause,
      });
    }
  };
  const said = (method: string, path: string, status: number, text: string): HeddleError => {
    const errors = parse(text)["errors"];
    const why = Array.isArray(errors) && errors.length > 0 ? errors.join("; ") : `status ${status}`;
    const told = `Vault says to ${method} ${path}: ${without(why.slice(0, 1_000), token())}`;
    return status >= 500 || status === 429
      ? new UnavailableError(told)
      : new HeddleError("invalid_argument", told, { status: 500 });
  };
  const json = async (method: string, path: string, body?: object): Promise<VaultAnswer> => {
    const { status, text } = await ask(method, path, body);
    if (status >= 300) throw said(method, path, status, text);
    const { data, auth } = parse(text) as { data?: VaultAnswer["data"] | null; auth?: VaultAnswer["auth"] | null };
    return { data: data ?? {}, auth: auth ?? {} };
  };
  return {
    read: (path) => json("GET", path),
    write: (path, body) => json("POST", path, body),
    async text(path) {
      const { status, text } = await ask("GET", path);
      if (status === 404 || text.trim() === "") return undefined;
      if (status >= 300) throw said("GET", path, status, text);
      return text.endsWith("\n") ? text : `${text}\n`;
    },
    close: () => agent.destroy(),
  };
}

function answerOf(req: ClientRequest, body?: Buffer): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    req.once("error", reject);
    req.once("response", (res: IncomingMessage) => {
      const chunks: Buffer[] = [];
      let length = 0;
      res.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        length += chunk.length;
        if (length > MAX_ANSWER_BYTES) req.destroy(new Error(`an answer of more than ${MAX_ANSWER_BYTES} bytes`));
      });
      res.once("error", reject);
      res.once("end", () => resolve({ status: res.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") }));
    });
    req.end(body);
  });
}

function parse(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text || "{}");
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

const without = (text: string, secret: string): string => (secret === "" ? text : text.replaceAll(secret, "…"));

function files({ caFile, certFile, keyFile }: VaultSettings) {
  const read = (path: string, key: string): string | undefined => {
    if (path === "") return undefined;
    try {
      return readFileSync(path, "utf8");
    } catch (cause) {
      throw new HeddleError("invalid_argument", `error configuring provider: cannot read ${path} (${key})`, {
        status: 500,
        cause,
      });
    }
  };
  return { ca: read(caFile, "CAFile"), cert: read(certFile, "CertFile"), key: read(keyFile, "KeyFile") };
}
