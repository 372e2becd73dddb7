/** Certificates of the internal API in a folder, as `heddle tls` makes them, and requests with one of them. */
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { expect } from "vitest";
import { type Answer, heddle } from "./daemon.ts";

const ROLES = ["agent", "ca", "catalog", "dns", "health", "operator"];

/** Headers that ask for a WebSocket. */
export const WEBSOCKET = {
  Connection: "Upgrade",
  Upgrade: "websocket",
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
};

const pem = (dir: string, name: string) => readFileSync(join(dir, `${name}.pem`), "utf8");

/** The three flags of a daemon. */
export const certificateFiles = (dir: string, role: string): string[] => [
  `-ca-file=${dir}/heddle-ca.pem`,
  `-cert-file=${dir}/dc1-${role}.pem`,
  `-key-file=${dir}/dc1-${role}-key.pem`,
];

/** A CA, and a certificate of each role. */
export async function makeCertificates(dir: string): Promise<void> {
  await tls(dir, "ca", "create");
  await tls(dir, "cert", "create", ...ROLES.flatMap((role) => ["-role", role]));
}

/** An agent's, of one node: `dc1-agent-NODE`. */
export const makeNodeCertificate = (dir: string, node: string): Promise<void> =>
  tls(dir, "cert", "create", "-client", `-node=${node}`);

async function tls(dir: string, ...argv: string[]): Promise<void> {
  const made = heddle(["tls", ...argv, "-dir", dir]);
  expect([await made.exited, made.output()]).toEqual([[0, null], expect.stringContaining("Saved")]);
}

export interface AskAsOptions {
  method?: string;
  path: string;
  body?: string;
  /** Of the certificate, where it is of another CA. */
  dir?: string;
  headers?: Record<string, string>;
}

/** Certificate, key and CA of a role, for `tls.connect`. */
export const identityOf = (dir: string, role: string) => ({
  ca: pem(dir, "heddle-ca"),
  cert: pem(dir, `dc1-${role}`),
  key: pem(dir, `dc1-${role}-key`),
});

/** One request with the certificate of a role; rejects where TLS does not come about. */
export function askWith(
  trusted: string,
  port: number,
  role: string | undefined,
  { method = "GET", path, body, dir = trusted, headers }: AskAsOptions,
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const identity = role && identityOf(dir, role);
  const req = request(
    { host: "127.0.0.1", port, method, path, agent: false, headers, ...identity, ca: pem(trusted, "heddle-ca") },
    (res) => {
      let text = "";
      res.on("data", (chunk: Buffer) => (text += chunk.toString()));
      res.on("error", reject);
      res.on("end", () =>
        resolve({ status: res.statusCode ?? 0, headers: res.headers, text, json: <T>() => JSON.parse(text) as T }),
      );
    },
  );
  req.on("error", reject);
  req.end(body);
  return promise;
}
