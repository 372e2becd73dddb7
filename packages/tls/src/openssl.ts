/**
 * openssl's own `verify -x509_strict`, where the command is installed: a second judge of a chain beside Node's handshakes, which
 * verify less strictly, and a judge that can be told the time.
 */
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const TIMEOUT_MS = 10_000;

export interface StrictCheck {
  leafPem: string;
  /** What is presented beside it. */
  chain: readonly string[];
  rootPems: readonly string[];
  /** Milliseconds since the epoch. */
  at: number;
}

/** "ok", "absent" where there is no such command, or what openssl has against it. */
export async function verifyStrictly({ leafPem, chain, rootPems, at }: StrictCheck): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "heddle-verify-"));
  try {
    const file = async (name: string, text: string) => {
      await writeFile(join(dir, name), text, { mode: 0o600 });
      return join(dir, name);
    };
    const untrusted = chain.length > 0 ? ["-untrusted", await file("chain.pem", chain.join(""))] : [];
    // Nothing but what is given counts: neither the system's roots nor a configuration of it.
    const trusted = ["-no-CApath", "-no-CAstore", "-CAfile", await file("roots.pem", rootPems.join(""))];
    const options = ["verify", "-x509_strict", "-attime", String(Math.floor(at / 1_000)), ...trusted, ...untrusted];
    await run("openssl", [...options, await file("leaf.pem", leafPem)], { timeout: TIMEOUT_MS });
    return "ok";
  } catch (error) {
    const { code, stderr = "", message } = error as NodeJS.ErrnoException & { stderr?: string };
    if (code === "ENOENT") return "absent";
    return /^error \d+ at \d+ depth lookup: (.*)$/m.exec(stderr)?.[1] ?? (stderr.trim().slice(0, 300) || message);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
