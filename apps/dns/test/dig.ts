/** The real `dig`, and the parts of its output that tests look at. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { type DnsConfig, loadConfig, start } from "../src/index.ts";
import { createLogHub } from "@heddle/daemon";
import type { FakeCatalog } from "./fake-catalog.ts";

const run = promisify(execFile);

export interface Dug {
  status: string;
  flags: string[];
  /** Lines of the sections as "name ttl type data". */
  answer: string[];
  authority: string[];
  additional: string[];
  bytes: number;
  isTcp: boolean;
  edns: string | undefined;
  text: string;
}

// Several tries: digs started side by side may draw the same source port and swallow each other's answers.
/** Asks with dig: `dig(port, "web.service.consul SRV +tcp")`; no EDNS and no retry over TCP unless asked for. */
export async function dig(port: number, args: string): Promise<Dug> {
  const flags = ["@127.0.0.1", "-p", String(port), "+tries=3", "+time=2", "+noedns", "+ignore", "+nocookie"];
  const { stdout } = await run("dig", [...flags, ...args.split(" ")]);
  const section = (name: string) => {
    const [, body = ""] = new RegExp(`;; ${name} SECTION:\n((?:.+\n)*)`).exec(stdout) ?? [];
    return body
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith(";"))
      .map((line) => line.replace(/\s+/g, " ").replace(" IN ", " "));
  };
  return {
    status: /status: (\w+)/.exec(stdout)?.[1] ?? "",
    flags: (/flags: ([a-z ]*);/.exec(stdout)?.[1] ?? "").split(" "),
    answer: section("ANSWER"),
    authority: section("AUTHORITY"),
    additional: section("ADDITIONAL"),
    bytes: Number(/MSG SIZE {2}rcvd: (\d+)/.exec(stdout)?.[1]),
    isTcp: /SERVER: .*\(TCP\)/.test(stdout),
    edns: /; EDNS: (.*)/.exec(stdout)?.[1],
    text: stdout,
  };
}

export function testConfig(overrides: Partial<DnsConfig> = {}): DnsConfig {
  return { ...loadConfig({ argv: [], env: {}, readFile: () => "" }), port: 0, ...overrides };
}

/** The daemon on a free port, once it has heard of the catalog. */
export async function startFor(catalog: Pick<FakeCatalog, "url">, overrides: Partial<DnsConfig> = {}) {
  const dns = await start(testConfig({ catalogUrl: catalog.url, ...overrides }), {
    log: createLogHub({ level: "warn" }).log,
  });
  const deadline = Date.now() + 5_000;
  while (!dns.health().catalog?.ready) {
    if (Date.now() > deadline) throw new Error("DNS never heard of the catalog");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return dns;
}
