/** `heddle debug`: an archive of what an agent says of itself, over a while, in the layout of Consul's. */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { formatDuration, sleep } from "@heddle/daemon";
import { command, CommandError, explain } from "../command.ts";
import { fileProblem } from "../data.ts";
import { createCapture } from "../debug-capture.ts";
import { flag } from "../flags.ts";
import { formatJson } from "../output.ts";
import { writeTarGz } from "../tar.ts";

const MIN_DURATION_MS = 10_000; // Consul's, both
const MIN_INTERVAL_MS = 5_000;
const TARGETS = ["metrics", "logs", "pprof", "host", "agent", "cluster"] as const;

export interface DebugSelf {
  Config?: { Version?: string };
  DebugConfig?: { EnableDebug?: boolean; EnableNodeProfiles?: boolean };
}

export const debug = command({
  usage: "debug [options]",
  about: `Records what an agent says of itself, its host and its cluster, and for -duration each -interval its metrics, its log
and its profiles, into the archive OUTPUT.tar.gz. A Heddle agent's profiles are Node's: profile.cpuprofile,
heap.heapprofile (both open in a browser's developer tools) and runtime.json. They need enable_debug.

    $ heddle debug -duration=1m -interval=10s
    $ heddle debug -capture=agent -capture=metrics -archive=false`,
  api: "agent",
  flags: {
    archive: { ...flag.boolean("Make an archive; false leaves the folder as it is."), default: true },
    capture: flag.list(`What to record: ${TARGETS.join(", ")}; all by default.`),
    duration: flag.duration("How long to record.", 120_000),
    interval: flag.duration("How often to record what changes.", 30_000),
    output: flag.text("Path of the folder and of the archive, without its ending; heddle-debug-<time> by default."),
  },
  async run({ api, args, flags, terminal }) {
    const { duration, interval } = flags;
    const refuse = (why: string) => new CommandError(`==> Capture validation failed: ${why}`);
    if (args.length > 0) throw new CommandError("==> debug: Too many arguments provided, expected 0");
    if (duration < MIN_DURATION_MS) throw refuse(`duration must be longer than ${formatDuration(MIN_DURATION_MS)}`);
    if (interval < MIN_INTERVAL_MS) throw refuse(`interval must be longer than ${formatDuration(MIN_INTERVAL_MS)}`);
    if (duration < interval)
      throw refuse(`duration (${formatDuration(duration)}) must be longer than interval (${formatDuration(interval)})`);
    const unknown = flags.capture.find((target) => !(TARGETS as readonly string[]).includes(target));
    if (unknown !== undefined) throw refuse(`target not found: ${unknown}`);
    const { body: self } = await api.get<DebugSelf>("/v1/agent/self").catch((error: unknown) => {
      throw refuse(`error querying target agent: ${explain(error)}. verify connectivity and agent address`);
    });
    const targets = new Set(flags.capture.length > 0 ? flags.capture : TARGETS);
    const { EnableDebug: hasPprof = false, EnableNodeProfiles: hasNode = false } = self.DebugConfig ?? {};
    if (targets.has("pprof") && !hasPprof && !hasNode) {
      targets.delete("pprof");
      terminal.err("[WARN] Unable to capture pprof. Set enable_debug to true on target agent to enable profiling.\n");
    }
    const output = flags.output || `heddle-debug-${Math.floor(Date.now() / 1000)}`;
    const archive = `${output}.tar.gz`;
    for (const path of [output, ...(flags.archive ? [archive] : [])])
      if (existsSync(path)) throw refuse(`output directory already exists: ${path}`);
    makeFolder(output, refuse);
    const names = [...targets].join(", ");
    const version = self.Config?.Version ?? "";
    terminal.out("==> Starting debugger and capturing static information...\n");
    const facts = { "Agent Version": version, Interval: formatDuration(interval), Duration: formatDuration(duration) };
    const saved = flags.archive ? archive : output;
    for (const [name, value] of Object.entries({ ...facts, Output: saved, Capture: names }))
      terminal.out(`    ${name.padStart(14)}: '${value}'\n`);

    const warn = (what: string, error: unknown) => terminal.err(`==> ${what}: ${explain(error)}\n`);
    const capture = createCapture({ api, targets, profiles: hasNode ? "node" : "pprof", warn });
    await capture.still(output);
    if (["metrics", "logs", "pprof"].some((target) => targets.has(target))) await record();
    const index = { Version: 1, AgentVersion: version, Interval: facts.Interval, Duration: facts.Duration };
    writeFileSync(join(output, "index.json"), formatJson({ ...index, Targets: [...targets] }, "\t"), { mode: 0o600 });
    if (flags.archive) {
      await writeTarGz(output, archive).catch((cause: unknown) => {
        throw new CommandError(`==> Archive creation failed: ${fileProblem(cause)}`, 1, { cause });
      });
      rmSync(output, { recursive: true });
    }
    terminal.out(`    Saved debug archive: ${saved}\n`);

    async function record(): Promise<void> {
      const { interrupted: signal } = terminal;
      const start = Date.now();
      terminal.out(`==> Beginning capture interval ${new Date(start).toISOString()} (0)\n`);
      for (let n = 0; n * interval < duration; n++) {
        const [begin, end] = [start + n * interval, start + Math.min((n + 1) * interval, duration)];
        await sleep(Math.max(0, begin - Date.now()), signal).catch(() => {});
        if (!signal.aborted) {
          const folder = join(output, String(Math.floor(begin / 1000)));
          makeFolder(folder, refuse);
          await capture.interval(folder, end - Date.now(), signal);
        }
        if (signal.aborted)
          return terminal.err("==> Error encountered during collection: stopping collection due to shutdown signal\n");
        terminal.out(`==> Capture successful ${new Date(begin).toISOString()} (${n + 1})\n`);
      }
    }
  },
});

/** Parents first, one by one: Node's own `recursive` never ends where the kernel refuses, as under /proc. */
function makeFolder(path: string, refuse: (why: string) => CommandError): void {
  const missing: string[] = [];
  for (let at = resolve(path); !existsSync(at); at = dirname(at)) missing.unshift(at);
  for (const folder of missing) {
    try {
      mkdirSync(folder, { mode: 0o700 });
    } catch (cause) {
      throw refuse(`could not create output directory: mkdir ${folder}: ${fileProblem(cause)}`);
    }
  }
}
