/**
 * Listening on a Unix socket: made under another name beside its own, given its mode and then renamed, so that nobody ever
 * finds it half made, and one that it replaces (a dead process's, or that of the process that we take over from) is there until
 * then.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, existsSync, lstatSync, renameSync, rmSync, type Stats } from "node:fs";
import { connect, type Server } from "node:net";
import { dirname } from "node:path";

/** Added to the path until it stands: with it a path of `MAX_SOCKET_PATH_BYTES` has the kernel's 107. */
const partName = (path: string) => `${path}.${randomBytes(3).toString("hex")}`;

/** What `listenOnSocket` needs to know of the file that it may replace; undefined where there is none. */
export type Replaced = Pick<Stats, "ino" | "dev"> | undefined;

/** Throws where something is at the path that is not ours to replace: no socket, or one that somebody listens on. */
export async function checkSocketPath(path: string, mayReplace: boolean): Promise<Replaced> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (!found && !existsSync(dirname(path)))
    throw new Error(`cannot listen on ${path}: there is no folder ${dirname(path)}`);
  if (!found) return undefined;
  if (!found.isSocket()) throw new Error(`cannot listen on ${path}: there is a file that is no socket`);
  if (!mayReplace && (await isLive(path))) throw new Error(`cannot listen on ${path}: another process listens on it`);
  return found;
}

/** Listens; `onListening` gets what removes the file, unless somebody else's is there by then. Errors are the server's. */
export function listenOnSocket(
  server: Server,
  { path, mode, backlog, replaces }: { path: string; mode: number; backlog: number; replaces: Replaced },
  onListening: (remove: () => void) => void,
): void {
  const part = partName(path);
  server.listen({ path: part, backlog }, () => {
    try {
      chmodSync(part, mode);
      const own = lstatSync(part);
      const found = lstatSync(path, { throwIfNoEntry: false });
      if (found && !isSame(found, replaces))
        throw new Error(`cannot listen on ${path}: another process has just begun to`);
      renameSync(part, path);
      onListening(() => {
        if (isSame(lstatSync(path, { throwIfNoEntry: false }), own)) rmSync(path, { force: true });
      });
    } catch (error) {
      server.close(); // removes the part
      server.emit("error", error);
    }
  });
}

function isSame(a: Replaced, b: Replaced): boolean {
  return a !== undefined && a.ino === b?.ino && a.dev === b.dev;
}

/** Throws where that cannot be found out. */
async function isLive(path: string): Promise<boolean> {
  const socket = connect({ path });
  try {
    await once(socket, "connect");
    return true;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ECONNREFUSED" || code === "ENOENT") return false;
    if (code === "EAGAIN") return true; // its queue is full
    throw new Error(`cannot listen on ${path}: ${message}`, { cause: error });
  } finally {
    socket.destroy();
  }
}
