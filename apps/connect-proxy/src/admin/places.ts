/** Where admin sockets are: one for each running proxy, in a folder that is its user's alone. */
import { readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeDirectory } from "@heddle/daemon";

const SOCKET = /^proxy-(\d+)\.sock$/;

/** The folder by default: systemd's, the session's, or one of the user's own below /tmp. */
export function defaultAdminDir(env: NodeJS.ProcessEnv): string {
  const { HEDDLE_RUNTIME_DIR, RUNTIME_DIRECTORY, XDG_RUNTIME_DIR } = env;
  // systemd gives several folders as one list.
  const given = HEDDLE_RUNTIME_DIR || RUNTIME_DIRECTORY?.split(":")[0];
  if (given) return given;
  return XDG_RUNTIME_DIR ? join(XDG_RUNTIME_DIR, "heddle") : join(tmpdir(), `heddle-${process.getuid?.() ?? 0}`);
}

/** The path of this process's socket. Throws where the folder is not ours alone; removes what dead processes left. */
export async function claimSocket(dir: string): Promise<string> {
  makeDirectory(dir);
  const { uid, mode } = await stat(dir);
  if (uid !== process.getuid?.() || (mode & 0o022) !== 0)
    throw new Error(`others may write to the folder ${dir}: want it owned by this user, mode 0700`);
  for (const { pid, path } of await listSockets(dir)) if (!isAlive(pid)) await rm(path, { force: true });
  const path = join(dir, `proxy-${process.pid}.sock`);
  await rm(path, { force: true });
  return path;
}

export async function listSockets(dir: string): Promise<{ pid: number; path: string }[]> {
  const names = await readdir(dir).catch(() => []);
  return names.flatMap((name) => {
    const pid = Number(SOCKET.exec(name)?.[1] ?? 0);
    return pid > 0 ? [{ pid, path: join(dir, name) }] : [];
  });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
