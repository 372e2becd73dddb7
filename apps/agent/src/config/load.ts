/**
 * The agent's configuration, from everywhere: files and directories in the order given, HEDDLE_AGENT_… variables, flags,
 * pieces of HCL; what comes later counts. Either everything is right, or nothing starts and every problem is told.
 */
import { ConfigError } from "@heddle/daemon";
import { type Network, realNetwork } from "./addresses.ts";
import { buildConfig } from "./build.ts";
import { checkDefinitions, readDefinitions } from "./definitions.ts";
import { fieldAt, flagValue, readEnvironment, readFlags, type ReadFlags } from "./flags.ts";
import { whyIgnored } from "./ignored.ts";
import { Merged } from "./merge.ts";
import { type FileSystem, hclSource, problemOf, readSources, realFileSystem, type Source } from "./sources.ts";
import type { AgentConfig } from "./types.ts";

export interface LoadOptions extends Partial<FileSystem> {
  argv?: readonly string[];
  env?: Record<string, string | undefined>;
  /** The host's addresses, for tests. */
  network?: Network;
}

/** Throws ConfigError with every problem, each naming file, line, key, value and what is accepted. */
export function loadAgentConfig(options: LoadOptions = {}): AgentConfig {
  const { argv = [], env = {}, network = realNetwork } = options;
  const files = {
    readFile: options.readFile ?? realFileSystem.readFile,
    readDir: options.readDir ?? realFileSystem.readDir,
  };
  const problems: string[] = [];
  const warnings: string[] = [];
  const report = (problem: string) => problems.push(problem);

  const flags = readFlags(argv, report);
  const sources = readSources(flags.paths, flags.format, files, report);
  const pieces = readPieces(flags.hcl, report);
  const values = [...readEnvironment(env), ...flags.values];
  const lists = values.filter(({ flag }) => fieldAt(flag.key as string).type === "list");
  // Lists append, so those of the command line go first; everything else overrides, so it goes last.
  const all = [
    ...lists.map(valueSource),
    ...sources,
    ...values.filter((value) => !lists.includes(value)).map(valueSource),
    ...pieces,
  ];
  const merged = new Merged();
  for (const source of all) {
    merged.add(source, report);
    for (const { path, at, first } of source.duplicates)
      warnings.push(
        `${source.place(path)}: key '${path.join(".")}' was given at line ${first.line} already; that of line ${at.line} counts`,
      );
  }
  const definitions = readDefinitions(all, report);

  const warn = (key: string, text: string) => warnings.push(`${merged.place(key)}${key}: ${text}`);
  const config = buildConfig(merged.config, {
    isDev: flags.isDev,
    network,
    warn,
    fail: (key, problem) => report(`${merged.place(key)}${key}: ${problem}`),
  });
  checkDefinitions(definitions, config.scripts.local, report, (text) => warnings.push(text));
  for (const [key, place] of merged.given()) {
    const reason = whyIgnored(key);
    if (reason !== undefined) warnings.push(`${place}: ${key} is accepted and has no effect: ${reason}`);
  }
  if (problems.length > 0) throw new ConfigError([...new Set(problems)]);
  return deepFreeze({
    ...config,
    services: definitions.services.map((s) => s.definition),
    checks: definitions.checks.map((c) => c.definition),
    warnings,
  });
}

function readPieces(texts: readonly string[], report: (problem: string) => void): Source[] {
  return texts.flatMap((text, i) => {
    const name = `-hcl[${i}]`;
    try {
      return [hclSource(text, name)];
    } catch (error) {
      report(problemOf(name, error));
      return [];
    }
  });
}

/** A flag or a variable as a source: one key with one value. */
function valueSource({ flag, text, source }: ReadFlags["values"][number]): Source {
  const key = flag.key as string;
  const value = key.split(".").reduceRight<unknown>((inner, name) => ({ [name]: inner }), flagValue(key, text));
  return { format: "hcl", value: value as Record<string, unknown>, place: () => source, duplicates: [] };
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const item of Object.values(value)) deepFreeze(item);
  }
  return value;
}
