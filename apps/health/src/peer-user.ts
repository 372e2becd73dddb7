/**
 * Whose process is at the other end of a loopback connection. Whoever can sync a script check runs programs as this daemon's
 * user, so in plain text only that user (and root) may: any other local user must not gain what the operator gave the agent.
 */
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";

const TCP_ESTABLISHED = "01"; // a closed peer's entry shows user 0

/** True when the peer of a connection within this host runs as this process's user or as root. Linux only; else false. */
export function isSameUser(socket: Socket): boolean {
  const own = process.getuid?.();
  if (own === undefined || socket.remotePort === undefined || socket.localPort === undefined) return false;
  const users = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].flatMap((file) =>
    peerUsers(file, socket.remotePort as number, socket.localPort as number),
  );
  // The same two ports may meet on another loopback address: then all of them must be ours.
  return users.length > 0 && users.every((user) => user === own || user === 0);
}

function peerUsers(file: string, peerPort: number, ownPort: number): number[] {
  let table: string;
  try {
    table = readFileSync(file, "utf8");
  } catch {
    return [];
  }
  const users: number[] = [];
  for (const line of table.split("\n").slice(1)) {
    const [, local, remote, state, , , , user] = line.trim().split(/\s+/);
    if (state === TCP_ESTABLISHED && portOf(local) === peerPort && portOf(remote) === ownPort) users.push(Number(user));
  }
  return users;
}

const portOf = (address = ""): number => Number.parseInt(address.slice(address.indexOf(":") + 1), 16);
