/** The tools of other people that the walk is taken with. */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { TestContext } from "vitest";

const DEBIAN_PACKAGES = {
  chromium: "chromium",
  curl: "curl",
  dig: "bind9-dnsutils",
  drill: "ldnsutils",
  getent: "libc-bin",
  ip: "iproute2",
  kdig: "knot-dnsutils",
  nc: "netcat-openbsd",
  openssl: "openssl",
  nsenter: "util-linux",
  setpriv: "util-linux",
  socat: "socat",
  ss: "iproute2",
  tcpdump: "tcpdump",
  unshare: "util-linux",
} as const;

export type Tool = keyof typeof DEBIAN_PACKAGES;

/** Skips the test where one of the tools is missing, and says which Debian package brings it. */
export function needs(ctx: TestContext, ...tools: Tool[]): void {
  for (const tool of tools.filter((name) => !isInstalled(name))) {
    const reason = `skipped '${ctx.task.name}': there is no ${tool} (Debian package ${DEBIAN_PACKAGES[tool]})`;
    process.stdout.write(`${reason}\n`);
    ctx.skip(reason);
  }
}

function isInstalled(tool: Tool): boolean {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  return folders.some((folder) => existsSync(join(folder, tool)));
}
