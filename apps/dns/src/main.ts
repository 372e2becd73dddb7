/** The DNS server: `node src/main.ts -help` lists its flags. */
import { readFileSync } from "node:fs";
import { createLogHub, describeError, formatOptions, runUntilSignal } from "@heddle/daemon";
import { DNS_OPTIONS, loadConfig } from "./config.ts";
import { start } from "./server.ts";

export async function main(argv: string[]): Promise<number> {
  if (argv.some((a) => /^--?h(?:elp)?$/.test(a))) {
    process.stdout.write(
      `Usage: heddle serve dns [options]\n\n  Answers DNS from the catalog.\n\n${formatOptions(DNS_OPTIONS)}`,
    );
    return 0;
  }
  try {
    const load = () => loadConfig({ argv, env: process.env, readFile: (path) => readFileSync(path, "utf8") });
    const config = load();
    const log = createLogHub({ level: config.logLevel, json: config.logJson }).log.child("dns");
    const running = await start(config, { log });
    return await runUntilSignal(running, { log, reload: async () => running.reload(load()) });
  } catch (error) {
    process.stderr.write(`${describeError(error)}\n`);
    return 1;
  }
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
