/**
 * The Dockerfile's image as a folder: the bundle that its build stage would make, and what the last stage copies. `RUN` lines
 * are not run; of them, `install -d` says which folders a volume takes its owner from.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, linkSync, mkdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type ImageFacts, imageFacts, parseDockerfile } from "./dockerfile.ts";

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const node = join(root, "node_modules/node/bin/node");

export interface Image extends ImageFacts {
  /** Folder with the files that it has beyond the base system's; empty for none. */
  files: string;
  /** Owner by path. */
  folders: Map<string, string>;
}

/** The image of our Dockerfile, its files under `folder`. */
export function buildImage(folder: string): Image {
  const last = parseDockerfile(readFileSync(join(root, "Dockerfile"), "utf8")).at(-1);
  if (!last) throw new Error("the Dockerfile has no stage");
  const dist = join(folder, "dist");
  const files = join(folder, "files");
  execFileSync(node, [join(root, "tools/build.ts"), dist], { stdio: ["ignore", "inherit", "inherit"] });
  for (const { name, flags, words } of last.instructions) {
    if (name !== "COPY") continue;
    const target = join(files, words.at(-1) as string);
    for (const source of words.slice(0, -1)) {
      const from = source === "/src/dist" ? dist : join(root, source.replace(/^\/src\//, ""));
      copy(from, (words.at(-1) as string).endsWith("/") ? join(target, basename(source)) : target, flags.chmod);
    }
  }
  const folders = new Map<string, string>();
  for (const { name, text } of last.instructions) {
    if (name !== "RUN") continue;
    for (const [, uid, gid, path = ""] of text.matchAll(/install -d -o (\d+) -g (\d+) -m \d+ (\S+)/g))
      folders.set(path, `${uid}:${gid}`);
  }
  return { ...imageFacts(last), files, folders };
}

/** Prometheus's own image, with the binary of `prometheus`. */
export function prometheusImage(folder: string, prometheus: string): Image {
  const files = join(folder, "files");
  copy(prometheus, join(files, "opt/prometheus/prometheus"), "0755");
  return {
    entrypoint: ["/opt/prometheus/prometheus"],
    command: [],
    user: "65534:65534",
    env: {},
    healthcheck: [],
    files,
    folders: new Map([["/prometheus", "65534:65534"]]),
  };
}

function copy(from: string, to: string, mode: string | undefined): void {
  mkdirSync(dirname(to), { recursive: true });
  if (from.endsWith("/node")) return link(from, to); // 150 MB
  execFileSync("cp", ["-r", from, to]);
  if (mode) chmodSync(to, Number.parseInt(mode, 8));
}

function link(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch {
    copyFileSync(from, to);
  }
}
