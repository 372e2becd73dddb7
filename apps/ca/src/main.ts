/** The CA server: `node src/main.ts -help` lists its flags. */
import { readFileSync } from "node:fs";
import { createLogHub, describeError, formatOptions, runUntilSignal } from "@heddle/daemon";
import { CA_OPTIONS, loadConfig } from "./config.ts";
import { start } from "./server.ts";

export async function main(argv: string[]): Promise<number> {
  if (argv.some((a) => /^--?h(?:elp)?$/.test(a))) {
    process.stdout.write(
      `Usage: heddle serve ca [options]\n\n  Runs the certificate authority.\n\n${formatOptions(CA_OPTIONS)}`,
    );
    return 0;
  }
  try {
    const config = loadConfig({ argv, env: process.env, readFile: (path) => readFileSync(path, "utf8") });
    const log = createLogHub({ level: config.logLevel, json: config.logJson }).log.child("ca");
    return await runUntilSignal((waitUntil) => start(config, { log, waitUntil }), { log });
  } catch (error) {
    process.stderr.write(`${describeError(error)}\n`);
    return 1;
  }
}

if (import.meta.main) process.exit(await main(process.argv.slice(2)));
