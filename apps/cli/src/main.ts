#!/usr/bin/env node
/** The entry of `heddle`: finds the command that the arguments name, and imports nothing but that. */
import { enableCompileCache } from "node:module";
import { COMMANDS, type Entry } from "./commands.ts";
import type { Terminal } from "./terminal.ts";

const UNKNOWN_COMMAND = 127; // as Consul has it, and shells
const isHelp = (text: string | undefined) => text === "-h" || text === "-help" || text === "--help";

/** Runs one command line and resolves with its exit status. */
export async function main(argv: readonly string[], given?: Terminal): Promise<number> {
  const rest = [...argv];
  const path: string[] = [];
  let entry: Entry = COMMANDS;
  let wantsHelp = false;
  while ("commands" in entry) {
    if (isHelp(rest[0])) {
      wantsHelp = true;
      rest.shift();
      continue;
    }
    if (path.length === 0 && /^--?v(?:ersion)?$/.test(rest[0] ?? "")) rest[0] = "version";
    const name = rest[0];
    const next: Entry | undefined =
      name !== undefined && Object.hasOwn(entry.commands, name) ? entry.commands[name] : undefined;
    if (next === undefined) break;
    path.push(name as string);
    rest.shift();
    entry = next;
  }
  if (wantsHelp) rest.unshift("-help");
  if ("program" in entry) return (await entry.program()).run(rest);
  const terminal = given ?? (await import("./terminal.ts")).processTerminal();
  if ("load" in entry) {
    const [{ runCommand }, spec] = await Promise.all([import("./command.ts"), entry.load()]);
    return runCommand(spec, path.join(" "), rest, terminal);
  }
  const text = (await import("./help.ts")).groupHelp(entry, path.join(" "));
  if (wantsHelp) {
    terminal.out(text);
    return 0;
  }
  const unknown =
    rest[0] === undefined
      ? ""
      : `Unknown ${rest[0].startsWith("-") ? "flag" : "command"}: ${["heddle", ...path, rest[0]].join(" ")}\n\n`;
  terminal.err(unknown + text);
  return path.length === 0 ? UNKNOWN_COMMAND : 1;
}

// Older ones lack fixes that a server on a network needs, of July 2026.
const MIN_NODE = [24, 18, 1];

/** Why this runtime will not do; undefined where it will. */
export function refuseOldNode(version: string): string | undefined {
  const have = version.split(".").map(Number);
  const differs = MIN_NODE.findIndex((part, i) => part !== have[i]);
  const isOlder = differs >= 0 && (have[differs] ?? 0) < (MIN_NODE[differs] as number);
  return isOlder
    ? `heddle needs Node ${MIN_NODE.join(".")} or newer: this is ${version} (the repository's ./heddle brings its own)`
    : undefined;
}

// Node before 24.2 does not say which module is the main one: it is too old in any case, and says so.
if (import.meta.main ?? true) {
  const tooOld = refuseOldNode(process.versions.node);
  if (tooOld) {
    process.stderr.write(`${tooOld}\n`);
    process.exit(1);
  }
  // In the user's own cache, not in /tmp: code that others could have put there must not run.
  const { HOME, XDG_CACHE_HOME = HOME && `${HOME}/.cache` } = process.env;
  if (XDG_CACHE_HOME) enableCompileCache(`${XDG_CACHE_HOME}/heddle`);
  process.exit(await main(process.argv.slice(2)));
}
