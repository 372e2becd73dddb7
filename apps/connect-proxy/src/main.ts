/** `heddle connect proxy`, alone: load the configuration, start, wait for a signal, drain. */
import { readdirSync, readFileSync } from "node:fs";
import { createLogHub, describeError, runUntilSignal } from "@heddle/daemon";
import { loadConfig, usage } from "./config.ts";
import { start } from "./server.ts";

const GRACE_BEYOND_DRAIN_MS = 2_500; // deregistering, and a scrape that is being answered

/** Runs the command; resolves with its exit status. */
export async function main(argv: string[], env: NodeJS.ProcessEnv): Promise<number> {
  const print = (text: string) => void process.stdout.write(`${text}\n`);
  if (argv.some((arg) => /^--?h(?:elp)?$/.test(arg))) {
    print(usage());
    return 0;
  }
  let config;
  try {
    config = loadConfig({
      argv,
      env,
      readFile: (path) => readFileSync(path, "utf8"),
      readDir: (path) => readdirSync(path),
    });
  } catch (error) {
    process.stderr.write(`${describeError(error)}\n`);
    return 1;
  }
  const { log } = createLogHub({ level: config.logLevel, format: config.logFormat });
  const proxyLog = log.child("proxy");
  const early = new AbortController();
  const onEarly = () => early.abort(new Error("interrupted"));
  process.once("SIGTERM", onEarly).once("SIGINT", onEarly);
  try {
    const running = await start(config, {
      log: proxyLog,
      print: config.logFormat === "text" ? print : undefined,
      signal: early.signal,
      onHandedOver: () => process.kill(process.pid, "SIGTERM"),
    });
    if (early.signal.aborted) {
      await running.close(); // asked to end after the last step that looks at the signal
      return 0;
    }
    const ended = runUntilSignal(running, { log: proxyLog, shutdownGraceMs: config.drainMs + GRACE_BEYOND_DRAIN_MS });
    // Not before others listen: with its last listener Node drops a signal that has come and was not told of yet.
    process.off("SIGTERM", onEarly).off("SIGINT", onEarly);
    return await ended;
  } catch (error) {
    if (early.signal.aborted) return 0;
    process.stderr.write(`==> Error preparing configuration: ${describeError(error)}\n`);
    return 1;
  }
}

if (import.meta.main) process.exit(await main(process.argv.slice(2), process.env));
