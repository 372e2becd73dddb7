/**
 * Whom scripts run as, where the operator names somebody. A name is asked for once, of whatever the machine asks (getent: files,
 * LDAP, …); what a process may do is known at the start, not when the first script fails.
 */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { InvalidArgumentError, PermissionDeniedError } from "@heddle/daemon";

export interface ScriptUser {
  readonly uid: number;
  readonly gid: number;
  readonly name: string;
  readonly home: string;
}

/** Gives the user of a check: that which it names, else the checker's. Rejects with what its output says. */
export type ScriptUsers = (named: string | undefined) => Promise<ScriptUser | undefined>;

const PASSWD = "/etc/passwd"; // where there is no getent
const GETENT_TIMEOUT_MS = 10_000; // a directory on the network may take its time
const MAX_ID = 2 ** 32 - 2; // the last one means "leave as it is"

/** What changing the user takes: setgroups, setgid and setuid, the pipe of its output made its own, its end by a signal. */
const CAPABILITIES = { CAP_CHOWN: 0n, CAP_KILL: 5n, CAP_SETGID: 6n, CAP_SETUID: 7n };

/**
 * Finds a user by name, uid or "uid:gid". Throws InvalidArgumentError for one that there is not, PermissionDeniedError where this
 * process may not change to it.
 */
export async function findScriptUser(text: string): Promise<ScriptUser> {
  const [, uid, gid] = /^(\d{1,10})(?::(\d{1,10}))?$/.exec(text) ?? [];
  if (uid === undefined && !/^[A-Za-z_][\w.@-]{0,254}\$?$/.test(text))
    throw new InvalidArgumentError(`script_user ${JSON.stringify(text)}: want a name, a uid or uid:gid`);
  const lacking = whatIsLacking();
  if (lacking !== undefined)
    throw new PermissionDeniedError(`script_user '${text}': scripts cannot be run as another user: ${lacking}`);
  const entry = await findEntry(uid ?? text);
  if (gid !== undefined)
    return { uid: toId(uid, text), gid: toId(gid, text), name: entry?.name ?? `${uid}`, home: entry?.home ?? "/" };
  if (entry === undefined)
    throw new InvalidArgumentError(
      uid === undefined
        ? `script_user '${text}': this machine knows no such user`
        : `script_user '${text}': this machine knows no such user, so not its group either: want uid:gid`,
    );
  return entry;
}

/** Finds each that a check names once. A check may not undo the operator's choice of somebody who is not root. */
export function createScriptUsers(own: ScriptUser | undefined): ScriptUsers {
  const found = new Map<string, Promise<ScriptUser>>();
  return async (named) => {
    if (!named) return own;
    let user = found.get(named);
    if (user === undefined) {
      user = findScriptUser(named);
      found.set(named, user);
      user.catch(() => found.delete(named)); // it may be there by the next run
    }
    const { uid, gid } = await user;
    if (own !== undefined && own.uid !== 0 && (uid === 0 || gid === 0))
      throw new PermissionDeniedError(`script_user '${named}': refused, for the checker's own is '${own.name}'`);
    return user;
  };
}

/** The variables that say who somebody is. */
export function identityVariables({ name, home }: ScriptUser): Record<string, string> {
  return { HOME: home, LOGNAME: name, USER: name };
}

function whatIsLacking(): string | undefined {
  const own = process.geteuid?.();
  if (own !== 0) return `only root may, and this process runs as user ${own ?? "unknown"}`;
  try {
    // Root within a container may have less than all of it. Without a word of the kernel's, root is taken for root.
    const held = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1]}`);
    const missing = Object.entries(CAPABILITIES).filter(([, bit]) => ((held >> bit) & 1n) === 0n);
    if (missing.length > 0) return `this process lacks ${missing.map(([name]) => name).join(", ")}`;
    // In such a namespace root's groups would stay, and nobody would say so.
    if (readFileSync("/proc/self/setgroups", "utf8").trim() === "deny")
      return "groups cannot be given up in this user namespace (/proc/self/setgroups says 'deny')";
  } catch {
    return undefined;
  }
  return undefined;
}

async function findEntry(key: string): Promise<ScriptUser | undefined> {
  for (const line of (await passwdLines(key)).split("\n")) {
    const [name, , uid, gid, , home] = line.split(":");
    if (!name || !uid || !gid || (name !== key && uid !== key)) continue;
    return { uid: toId(uid, key), gid: toId(gid, key), name, home: home || "/" };
  }
  return undefined;
}

async function passwdLines(key: string): Promise<string> {
  try {
    return (await promisify(execFile)("getent", ["passwd", key], { timeout: GETENT_TIMEOUT_MS })).stdout;
  } catch (error) {
    const { code } = error as { code?: number | string };
    if (code === 2) return ""; // getent(1): not found
    if (code === "ENOENT") return readFileSync(PASSWD, "utf8");
    throw new InvalidArgumentError(`script_user '${key}': cannot ask for it: getent failed`, { cause: error });
  }
}

function toId(text: string | undefined, user: string): number {
  const id = Number(text);
  if (!Number.isSafeInteger(id) || id > MAX_ID)
    throw new InvalidArgumentError(`script_user '${user}': ${text} is no id: want 0 to ${MAX_ID}`);
  return id;
}
