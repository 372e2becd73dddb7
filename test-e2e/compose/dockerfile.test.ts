/** The Dockerfile, as far as it can be checked without an engine: what each stage does, copies, runs as and leaves out. */
import { execFileSync } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { imageFacts, parseDockerfile, type Stage } from "./dockerfile.ts";
import { node, root } from "./image.ts";

const stages = parseDockerfile(readFileSync(join(root, "Dockerfile"), "utf8"));
const [build, final] = stages as [Stage, Stage];
const named = (stage: Stage, name: string) => stage.instructions.filter((i) => i.name === name);
const shell = (stage: Stage) =>
  named(stage, "RUN")
    .map((i) => i.text)
    .join("\n");

describe("the Dockerfile", () => {
  test("has two stages on pinned slim bases: one that builds, one that ships", () => {
    expect(stages.map((s) => s.name)).toEqual(["build", ""]);
    for (const { image } of stages) expect(image).toMatch(/^[a-z]+:[\w.]*bookworm[\w.-]*$|^node:\d+-bookworm-slim$/);
    expect(final.image).toMatch(/^debian:\w+-slim$/);
  });

  test("builds with the workspace's pnpm, the lock file as it is, and the pinned Node", () => {
    expect(shell(build)).toBe("node tools/setup.mjs");
    const setup = readFileSync(join(root, "tools/setup.mjs"), "utf8");
    expect(setup).toContain('run("npx", ["--yes", packageManager, "install", "--frozen-lockfile"])');
    expect(setup).toContain('run(node, [join(root, "tools/build.ts")])');
  });

  test("ships the pinned Node, the bundle and its two scripts, and nothing else", () => {
    const copied = named(final, "COPY").map((i) => [i.flags.from ?? "", ...i.words]);
    expect(copied).toEqual([
      ["build", "/src/node_modules/node/bin/node", "/opt/heddle/bin/node"],
      ["build", "/src/dist", "/opt/heddle/dist"],
      ["", "deploy/image/heddle", "deploy/image/ready", "/opt/heddle/bin/"],
    ]);
    expect(named(final, "ADD")).toEqual([]);
  });

  test("installs only libraries in the last stage, those that the pinned Node links to", () => {
    const installed = /apt-get install --yes --no-install-recommends ([^&]+)/
      .exec(shell(final))?.[1]
      ?.trim()
      .split(" ");
    expect(installed).toEqual(["libatomic1"]);
    expect(shell(final)).toContain("rm -rf /var/lib/apt/lists/*");
    const base = /^(?:libc|libm|libdl|libpthread|libgcc_s|libstdc\+\+|ld-linux.*|linux-vdso)\.so/;
    const linked = execFileSync("ldd", [node], { encoding: "utf8" })
      .trim()
      .split("\n")
      .map((line) => line.trim().split(/[\s(]/)[0] ?? "");
    expect(linked.filter((name) => !base.test(name.replace(/^.*\//, "")))).toEqual(["libatomic.so.1"]);
  });

  test("runs as a user of its own, which owns the data directory and nothing else", () => {
    const { user, entrypoint, command } = imageFacts(final);
    expect(user).toBe("10001:10001");
    expect(shell(final)).toContain("install -d -o 10001 -g 10001 -m 0700 /var/lib/heddle");
    expect(final.instructions.findIndex((i) => i.name === "USER")).toBeGreaterThan(
      final.instructions.findLastIndex((i) => i.name === "RUN"),
    );
    expect([entrypoint, command[0]]).toEqual([["heddle"], "agent"]);
    expect(shell(final)).not.toMatch(/chmod|sudo|setcap|curl|wget|npm|npx/);
  });

  test("has a health check and names its ports", () => {
    expect(imageFacts(final).healthcheck).toEqual(["ready", "http://127.0.0.1:8500/readyz"]);
    const exposed = named(final, "EXPOSE").flatMap((i) => i.words);
    for (const port of ["8500", "8600", "8600/udp", "8300", "8310", "8320", "21000-21255"])
      expect(exposed).toContain(port);
  });

  test("copies what exists, past .dockerignore, with scripts that run", () => {
    for (const { flags, words } of named(final, "COPY"))
      for (const source of words.slice(0, -1)) {
        if (flags.from) continue;
        expect(existsSync(join(root, source)), source).toBe(true);
        expect(() => accessSync(join(root, source), constants.X_OK)).not.toThrow();
        expect(isIgnored(source), source).toBe(false);
      }
    expect(existsSync(node)).toBe(true);
    for (const needed of [
      "package.json",
      "pnpm-lock.yaml",
      "pnpm-workspace.yaml",
      "tools/build.ts",
      "tools/setup.mjs",
      "apps/cli/src/main.ts",
      "packages/daemon/package.json",
      "test-e2e/package.json",
    ])
      expect(isIgnored(needed), needed).toBe(false);
    for (const kept of [
      ".git/config",
      "node_modules/vitest/package.json",
      "apps/cli/node_modules/x",
      "dist/heddle.mjs",
      "packages/tls/src/peer.test.ts",
      "deploy/certs.sh",
    ])
      expect(isIgnored(kept), kept).toBe(true);
  });

  test("its entry sets the umask and execs, so that signals reach Node", () => {
    const entry = readFileSync(join(root, "deploy/image/heddle"), "utf8");
    expect(entry).toMatch(/^umask 077$/m);
    expect(entry).toMatch(
      /^exec \/opt\/heddle\/bin\/node --disable-sigusr1 .*\/opt\/heddle\/dist\/heddle\.mjs "\$@"$/m,
    );
  });
});

/** By .dockerignore: the last pattern that matches a path or a folder above it decides. */
function isIgnored(path: string): boolean {
  const patterns = readFileSync(join(root, ".dockerignore"), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  let ignored = false;
  for (const pattern of patterns) {
    const isException = pattern.startsWith("!");
    const glob = pattern
      .replace(/^!/, "")
      .replace(/[.+]/g, "\\$&")
      .replace(/\*\*\/|\*/g, (star) => (star === "*" ? "[^/]*" : "(?:.*/)?"));
    if (new RegExp(`^${glob}(?:/|$)`).test(path)) ignored = !isException;
  }
  return ignored;
}
