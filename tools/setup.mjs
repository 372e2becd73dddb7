// Brings what a plain clone lacks: the pinned pnpm, through it the packages and the pinned Node, and the bundle. Runs on Node 20.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const node = join(root, "node_modules/node/bin/node");

/** Installs where the lockfile is newer than what is installed, then builds. Throws with the failing command's output. */
export function setup({ build = true, say = (line) => console.error(line) } = {}) {
  if (!isInstalled()) {
    const { packageManager } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    say(`heddle: installing packages and the pinned Node with ${packageManager} (once)`);
    run("npx", ["--yes", packageManager, "install", "--frozen-lockfile"]);
  }
  if (build) run(node, [join(root, "tools/build.ts")]);
}

function isInstalled() {
  const installed = join(root, "node_modules/.modules.yaml");
  if (!existsSync(node) || !existsSync(installed)) return false;
  return statSync(installed).mtimeMs >= statSync(join(root, "pnpm-lock.yaml")).mtimeMs;
}

function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, encoding: "utf8", env: { ...process.env, CI: "true" } });
  if (result.error) throw result.error;
  if (result.status !== 0) throw new Error(`${command} ${args.join(" ")} failed:\n${result.stdout}${result.stderr}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    setup();
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
