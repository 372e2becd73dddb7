/**
 * One Unix socket for each service that names a user, which that user alone (and root) can connect to: the kernel attests the
 * caller, with no process to look up and nothing to race (decision 18).
 */
import { chmod, chown, mkdir, mkdtemp, readFile, rename, rm, stat } from "node:fs/promises";
import { once } from "node:events";
import type { Http2Server, ServerHttp2Session } from "node:http2";
import { join } from "node:path";
import { describeError, InvalidArgumentError, type Logger } from "@heddle/daemon";
import { isSegment } from "@heddle/spiffe";
import type { LocalState } from "../local-state.ts";
import { createWorkloadApi, type WorkloadApiDeps } from "./workload-api.ts";

/** The key of a service's metadata that names its user, by name or number. */
export const USER_KEY = "spiffe-user";
const MAX_PATH_BYTES = 107; // sockaddr_un
const PASSWD = "/etc/passwd";

export interface WorkloadSocketsOptions extends WorkloadApiDeps {
  /** Where the sockets are; made where it is not there. */
  dir: string;
  state: LocalState;
  log: Logger;
}

interface Open {
  service: string;
  user: string;
  close: () => Promise<void>;
}

/** Keeps the sockets that the registered services ask for. Throws where others may write to the folder. */
export async function serveWorkloads(options: WorkloadSocketsOptions): Promise<() => Promise<void>> {
  const { dir, state, log } = options;
  await prepareDir(dir);
  const open = new Map<string, Open>();
  const failed = new Map<string, string>();
  const update = async () => {
    const wanted = wantedSockets(state);
    for (const [id, socket] of open) {
      const now = wanted.get(id);
      if (now?.service === socket.service && now.user === socket.user) continue;
      await socket.close();
      open.delete(id);
    }
    for (const [id, { service, user }] of wanted) {
      if (open.has(id)) continue;
      try {
        const { path, close } = await openSocket(id, service, user, options);
        open.set(id, { service, user, close });
        failed.delete(id);
        log.info("the Workload API is served", { service: id, path, user });
      } catch (error) {
        const why = describeError(error);
        if (failed.get(id) !== why) log.error("cannot serve the Workload API", { service: id, user, error: why });
        failed.set(id, why);
      }
    }
  };
  let last: Promise<void> = Promise.resolve();
  const inTurn = () => {
    last = last.then(update).catch((error: unknown) => {
      log.error("cannot keep the sockets of the Workload API", { error: describeError(error) });
    });
  };
  const off = state.onChange((changes) => {
    if (changes.some(({ kind }) => kind === "service")) inTurn();
  });
  inTurn();
  return async () => {
    off();
    await last;
    for (const { close } of open.values()) await close();
  };
}

/** A folder in which others could put a socket of their own would be no place for ours. */
async function prepareDir(dir: string): Promise<void> {
  try {
    await mkdir(dir);
    await chmod(dir, 0o755); // whatever the umask: others have to come through
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST")
      throw new InvalidArgumentError(`heddle.workload_api_dir: cannot make ${dir}: ${describeError(error)}`);
  }
  const { mode, uid } = await stat(dir);
  if ((mode & 0o022) !== 0 || uid !== process.geteuid?.())
    throw new InvalidArgumentError(
      `heddle.workload_api_dir: others may write to ${dir}: want a folder of this process's user, mode 0755`,
    );
}

function wantedSockets(state: LocalState): Map<string, { service: string; user: string }> {
  const wanted = new Map<string, { service: string; user: string }>();
  for (const { definition } of state.services()) {
    const user = definition.Meta?.[USER_KEY];
    if (user) wanted.set(definition.ID, { service: definition.Name, user });
  }
  return wanted;
}

async function openSocket(
  id: string,
  service: string,
  user: string,
  { dir, leaves, followed }: WorkloadSocketsOptions,
): Promise<{ path: string; close: () => Promise<void> }> {
  const path = join(dir, `${id}.sock`);
  if (!isSegment(id) || !isSegment(service))
    throw new InvalidArgumentError(`'${id}' cannot name a socket: want letters, digits, '.', '-', '_'`);
  if (Buffer.byteLength(path) > MAX_PATH_BYTES)
    throw new InvalidArgumentError(`${path} is longer than ${MAX_PATH_BYTES} bytes, as long as a socket's path may be`);
  const uid = await userId(user);
  const server = createWorkloadApi(service, { leaves, followed });
  const end = endSessions(server);
  // Nobody can reach it before it is the user's: it is made in a folder of ours, and moved when it is ready.
  const hidden = await mkdtemp(join(dir, ".new-"));
  try {
    server.listen(join(hidden, "s"));
    await once(server, "listening");
    await chmod(join(hidden, "s"), 0o600);
    await chown(join(hidden, "s"), uid, process.getegid?.() ?? 0);
    await rename(join(hidden, "s"), path);
  } catch (error) {
    await end();
    throw error;
  } finally {
    await rm(hidden, { recursive: true, force: true });
  }
  return {
    path,
    async close() {
      await rm(path, { force: true });
      await end();
    },
  };
}

/** Ends a server and what is open on it. */
function endSessions(server: Http2Server): () => Promise<void> {
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
  });
  return async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    for (const session of sessions) session.destroy();
    await closed;
  };
}

/** The number of a user. Throws InvalidArgumentError for one that this machine does not know. */
async function userId(user: string): Promise<number> {
  if (/^\d{1,10}$/.test(user) && Number(user) < 2 ** 32 - 1) return Number(user);
  const line = (await readFile(PASSWD, "utf8")).split("\n").find((entry) => entry.startsWith(`${user}:`));
  const uid = line?.split(":")[2];
  if (uid === undefined) throw new InvalidArgumentError(`${USER_KEY} '${user}': there is no such user in ${PASSWD}`);
  return Number(uid);
}
