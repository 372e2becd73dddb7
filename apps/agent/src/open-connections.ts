/** Counts the connections that clients have open to ports of this host, as the kernel tells them (Linux). */
import { readFile } from "node:fs/promises";

const TABLES = ["/proc/net/tcp", "/proc/net/tcp6"];
const ESTABLISHED = "01";

/** Undefined where the kernel does not tell. */
export async function openConnections(ports: ReadonlySet<number>): Promise<number | undefined> {
  try {
    const texts = await Promise.all(TABLES.map((path) => readFile(path, "latin1").catch(() => "")));
    return texts[0] === "" ? undefined : texts.reduce((sum, text) => sum + countEstablished(text, ports), 0);
  } catch {
    return undefined;
  }
}

/** The rows of a table in the form of `/proc/net/tcp` that are established and end at one of the ports. */
export function countEstablished(table: string, ports: ReadonlySet<number>): number {
  let count = 0;
  for (const line of table.split("\n").slice(1)) {
    const [, local = "", , state] = line.trim().split(/\s+/);
    if (state === ESTABLISHED && ports.has(Number.parseInt(local.slice(local.lastIndexOf(":") + 1), 16))) count++;
  }
  return count;
}
