/** Says who holds a port: "address in use" alone sends people to `ss` and `lsof`. */
import { readdir, readFile, readlink } from "node:fs/promises";
import { UnavailableError } from "./errors.ts";

/** Turns a bind error into one that names address, port and, where Linux tells, the process that holds it. */
export async function explainListenError(
  error: unknown,
  host: string,
  port: number,
  protocol: "tcp" | "udp" = "tcp",
): Promise<Error> {
  const code = (error as NodeJS.ErrnoException).code;
  const at = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  if (code === "EADDRINUSE") {
    const holder = await portHolder(port, protocol).catch(() => undefined);
    return new UnavailableError(
      `cannot listen on ${at} (${protocol}): the port is in use${holder ? ` by ${holder}` : ""}`,
      { cause: error },
    );
  }
  if (code === "EACCES")
    return new UnavailableError(`cannot listen on ${at}: ports below 1024 need privileges`, { cause: error });
  if (code === "EADDRNOTAVAIL")
    return new UnavailableError(`cannot listen on ${at}: this machine has no such address`, { cause: error });
  return new UnavailableError(`cannot listen on ${at}`, { cause: error });
}

/** The process that listens on a local port, as "name (pid 123)"; undefined where it cannot be known. Linux only. */
export async function portHolder(port: number, protocol: "tcp" | "udp" = "tcp"): Promise<string | undefined> {
  const inodes = new Set<string>();
  const listening = protocol === "tcp" ? "0A" : "07";
  for (const file of [`/proc/net/${protocol}`, `/proc/net/${protocol}6`]) {
    const text = await readFile(file, "utf8").catch(() => "");
    for (const line of text.split("\n").slice(1)) {
      const fields = line.trim().split(/\s+/);
      if (fields[3] === listening && Number.parseInt(fields[1]?.split(":")[1] ?? "", 16) === port)
        inodes.add(`socket:[${fields[9]}]`);
    }
  }
  if (inodes.size === 0) return undefined;
  for (const pid of await readdir("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    const fds = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const fd of fds) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => "");
      if (inodes.has(target)) return `${(await readFile(`/proc/${pid}/comm`, "utf8")).trim()} (pid ${pid})`;
    }
  }
  return undefined;
}
