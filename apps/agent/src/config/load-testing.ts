/** What the tests of the configuration share: files in memory, and the problems that a load tells. */
import { ConfigError } from "@heddle/daemon";
import { expect } from "vitest";
import { loadAgentConfig, type LoadOptions } from "./load.ts";
import type { AgentConfig } from "./types.ts";

export const BASE = { data_dir: "/data", bind_addr: "127.0.0.1" };

/** The folder "dir" with these files. */
export const folder = (files: Record<string, string | object>): Pick<LoadOptions, "readDir" | "readFile"> => ({
  readDir: (path) => (path === "dir" ? Object.keys(files) : undefined),
  readFile: (path) => {
    const file = files[path.replace(/^dir\//, "")];
    if (file === undefined) throw new Error(`ENOENT: no such file or directory, open '${path}'`);
    return typeof file === "string" ? file : JSON.stringify(file);
  },
});

export const load = (files: Record<string, string | object>, argv: string[] = [], env = {}): AgentConfig =>
  loadAgentConfig({ argv: ["-config-dir=dir", ...argv], env, ...folder(files) });

export const flags = (...argv: string[]): AgentConfig => loadAgentConfig({ argv: ["-dev", ...argv] });

export const problemsOf = (run: () => unknown): string[] => {
  try {
    run();
    return [];
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).problems;
  }
};
