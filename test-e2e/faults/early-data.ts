/** 0-RTT attempts with OpenSSL (SV-07): a session that allows early data, made with OpenSSL's own server, shown to a server of ours. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { freePort, run, tempDir, until } from "./daemon.ts";

const exec = promisify(execFile);
const DIR = tempDir();
const at = (name: string) => join(DIR, name);

/** What `openssl s_client` says about such a session at a port. */
export async function earlyDataAt(port: number, ...argv: string[]): Promise<string> {
  const early = ["-tls1_3", "-sess_in", at("session"), "-early_data", at("bytes")];
  const client = 'sleep 0.3 | timeout 5 openssl s_client "$@" 2>&1 || true';
  return (await exec("sh", ["-c", client, "sh", "-connect", `127.0.0.1:${port}`, ...early, ...argv])).stdout;
}

/** Makes the session, and returns what is said where it is taken: by the server that made it. */
export async function makeEarlyDataSession(): Promise<string> {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", at("key")];
  await exec("openssl", ["req", "-x509", ...key, "-out", at("cert"), "-days", "1", "-subj", "/CN=early"]);
  writeFileSync(at("bytes"), "early\n");
  const port = await freePort();
  const server = run("openssl", [
    ...["s_server", "-accept", `127.0.0.1:${port}`, "-tls1_3", "-early_data", "-quiet"],
    ...["-cert", at("cert"), "-key", at("key")],
  ]);
  await until(
    async () => {
      const socket = connect(port, "127.0.0.1");
      const isOpen = once(socket, "connect").then(() => true);
      return isOpen.catch(() => false).finally(() => socket.destroy());
    },
    (isOpen) => isOpen,
  );
  await exec("sh", [
    "-c",
    `sleep 0.3 | timeout 5 openssl s_client -connect 127.0.0.1:${port} -tls1_3 -sess_out ${at("session")}`,
  ]);
  const taken = await earlyDataAt(port);
  await server.end("SIGKILL");
  return taken;
}
