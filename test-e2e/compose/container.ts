/**
 * One service's process as an engine would start it: its own root (the base system read-only, the image's files, the volumes),
 * its network namespace, its user, no capability that it was not given. Every step execs the next, so the process that is
 * signalled is the daemon itself. What an engine does and this does not: a PID namespace, cgroups, seccomp.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import type { ServiceSpec } from "./compose-file.ts";
import type { Image } from "./image.ts";
import { DIE_WITH_PARENT } from "./network.ts";

export interface ContainerOptions {
  spec: ServiceSpec;
  image: Image;
  /** Whose network it is in. */
  networkPid: number;
  /** Folders of the host by mount target. */
  sources: Map<string, string>;
  /** Its /etc: hosts, passwd, group. */
  etc: string;
  /** Where its root is mounted; only its own mount namespace sees it. */
  folder: string;
}

export interface Container {
  readonly pid: number;
  /** What it wrote, line by line. */
  readonly lines: string[];
  /** Resolves with the status; a signal that ended it is 128 and its number, as in a shell. */
  readonly exited: Promise<number>;
  isRunning(): boolean;
  /** Runs a command inside. Resolves with its status. */
  exec(command: string[]): Promise<number>;
  kill(signal: NodeJS.Signals): void;
}

const SIGNALS: Partial<Record<NodeJS.Signals, number>> = { SIGKILL: 9, SIGTERM: 15 };

// $1 root, $2 files of the image, $3 /etc, $4 ro or rw, $5 number of mounts, then source, target and mode of each; then argv.
const SETUP = `
set -eu
root=$1 files=$2 etc=$3 mode=$4 count=$5; shift 5
mount -t tmpfs -o mode=755,size=64m tmpfs "$root"
mkdir -p "$root/usr" "$root/etc" "$root/proc" "$root/dev" "$root/tmp"
mount --bind -o ro /usr "$root/usr"
for link in bin sbin lib lib64; do [ ! -e "/usr/$link" ] || ln -s "usr/$link" "$root/$link"; done
cp -r "$etc/." "$root/etc"
mount --bind /proc "$root/proc"
for device in null zero random urandom; do : > "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
if [ -n "$files" ]; then
  for top in "$files"/*; do mkdir -p "$root/\${top##*/}"; mount --bind -o ro "$top" "$root/\${top##*/}"; done
fi
while [ "$count" -gt 0 ]; do
  if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$root\${2%/*}"; : > "$root$2"; fi
  mount --bind -o "$3" "$1" "$root$2"
  shift 3; count=$((count - 1))
done
[ -d "$root$1" ] || mkdir -p "$root$1" # the working directory
mount -o "remount,$mode" "$root"
working=$1; shift
exec chroot "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$working" "$@"
`;

export function startContainer(options: ContainerOptions): Container {
  const { spec, image, sources } = options;
  const root = join(options.folder, "root");
  mkdirSync(root, { recursive: true });
  const entrypoint = spec.entrypoint ?? image.entrypoint;
  // An entrypoint of one's own takes the image's command away, as in an engine.
  const command = spec.command ?? (spec.entrypoint ? [] : image.command);
  const mounts = spec.mounts.flatMap((m) => [sources.get(m.target) as string, m.target, m.isReadOnly ? "ro" : "rw"]);
  const home = [...image.folders.keys()][0] ?? "/";
  const namespaces = [
    "-t",
    String(options.networkPid),
    "--net",
    "--",
    "unshare",
    "--mount",
    "--propagation",
    "private",
  ];
  const places = [root, image.files, options.etc, spec.isReadOnly ? "ro" : "rw", String(spec.mounts.length), ...mounts];
  const setup = ["sh", "-c", SETUP, "setup", ...places, home];
  const argv = [...inside(spec, image, home), ...entrypoint, ...command];
  const child = spawn("nsenter", [...namespaces, "--", ...setup, ...argv], { stdio: ["ignore", "pipe", "pipe"] });
  return watch(child, options, home);
}

/** From root in the container to its user, with its environment. */
function inside(spec: ServiceSpec, image: Image, home: string): string[] {
  const [uid = "0", gid = uid] = (spec.user ?? image.user).split(":");
  const bounding = ["-all", ...spec.capAdd.map((c) => `+${c.toLowerCase()}`)].join(",");
  const env = { HOME: home, HOSTNAME: spec.name, ...image.env, ...spec.environment };
  const user = ["--reuid", uid, "--regid", gid, "--clear-groups"];
  const capabilities = ["--inh-caps", "-all", "--bounding-set", bounding, "--no-new-privs"];
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  return ["setpriv", ...user, ...capabilities, ...DIE_WITH_PARENT.slice(1), "env", "-i", ...variables];
}

function watch(child: ChildProcess, { spec, image, folder }: ContainerOptions, home: string): Container {
  const pid = child.pid as number;
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    let rest = "";
    stream?.setEncoding("utf8").on("data", (chunk: string) => {
      appendFileSync(join(folder, "log"), chunk);
      const parts = (rest + chunk).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts);
    });
  }
  const exited = once(child, "close").then(([code, signal]: unknown[]) =>
    typeof code === "number" ? code : 128 + (SIGNALS[signal as NodeJS.Signals] ?? 0),
  );
  return {
    pid,
    lines,
    exited,
    isRunning: () => child.exitCode === null && child.signalCode === null,
    async exec(command) {
      const enter = ["-t", String(pid), "--mount", "--net", "--root", "--wdns=/", "--"];
      const check = spawn("nsenter", [...enter, ...inside(spec, image, home), ...command], { stdio: "ignore" });
      const [code] = (await once(check, "exit")) as [number | null];
      return code ?? 1;
    },
    kill: (signal) => void child.kill(signal),
  };
}
