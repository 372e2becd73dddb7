/** What dig, curl and openssl say, in a form to compare. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { type Program, type Result, run, start } from "./process.ts";

/** The records that `dig +short` prints, sorted. */
export async function dig(port: number, ...question: string[]): Promise<string[]> {
  const { out } = await digFully(port, "+short", ...question);
  return out.split("\n").filter(Boolean).toSorted();
}

export async function digFully(port: number, ...question: string[]): Promise<Result> {
  const result = await run("dig", ["@127.0.0.1", "-p", String(port), "+tries=3", "+time=3", ...question]);
  if (result.status !== 0) throw new Error(`dig ${question.join(" ")}: ${result.out}${result.err}`);
  return result;
}

export interface Identity {
  certPem: string;
  keyPem: string;
}

/** `openssl s_client` against a proxy's public listener, with a certificate if one is given, until the listener ends it. */
export function openssl(
  port: number,
  { identity, text = "" }: { identity?: Identity; text?: string } = {},
): Promise<Result> {
  const flags = ["-connect", `127.0.0.1:${port}`, "-showcerts", "-ign_eof"];
  return run("openssl", ["s_client", ...flags, ...(identity ? identityFlags(identity) : [])], { stdin: text });
}

/** A TLS client that stays open: resolves when the handshake is over. */
export async function openTls(port: number, identity: Identity): Promise<Program> {
  const client = start("openssl", [
    "s_client",
    "-connect",
    `127.0.0.1:${port}`,
    "-ign_eof",
    ...identityFlags(identity),
  ]);
  await client.printed("Verify return code");
  return client;
}

function identityFlags({ certPem, keyPem }: Identity): string[] {
  const dir = mkdtempSync(join(tmpdir(), "heddle-identity-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const [chain, key] = [join(dir, "chain.pem"), join(dir, "key.pem")];
  writeFileSync(chain, certPem);
  writeFileSync(key, keyPem, { mode: 0o600 });
  return ["-cert", chain, "-cert_chain", chain, "-key", key];
}
