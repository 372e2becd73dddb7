/** `heddle intention plan`, and `-plan` of create and delete: what a change would do to connections. Heddle's own. */
import type { ApiClient } from "@heddle/api-client";
import type { PlannedPair } from "@heddle/intentions";
import { attempt, command, CommandError } from "../command.ts";
import { readBytes } from "../data.ts";
import { flag } from "../flags.ts";
import { columns, printJson } from "../output.ts";
import type { Terminal } from "../terminal.ts";

const MAX_FILE = 1024 * 1024;

interface Planned extends PlannedPair {
  Where: { Node: string; Proxy: string; Count: number }[];
}

interface PlanAnswer {
  Connections: number;
  CutPairs: number;
  Cut: Planned[];
  OpenedPairs: number;
  Opened: Planned[];
  Unchanged: number;
  Holders: number;
  Unreported: Unreported[];
  IdleRules: { Source: string; Destination: string; Because: string }[];
}

export interface Unreported {
  Node: string;
  ServiceID: string;
}

export interface Change {
  Set?: unknown[];
  Delete?: unknown[];
}

export const plan = command({
  usage: "intention plan [options] FILE...",
  about: `Tells what rules would do before they are written: which connections that are open now, and which pairs of services seen in the last
24 hours, they would cut, and which that were refused they would let through. Each FILE, HCL or JSON, has a service-intentions entry,
an intention, or (JSON) a list of them, as they would be written; - is standard input. Nothing is changed.

    $ heddle intention plan db.hcl
    $ heddle intention create -deny -plan web db`,
  api: "datacenter",
  flags: { format: flag.format() },
  async run({ api, args, flags, terminal }) {
    if (args.length === 0) throw new CommandError("Error: command requires an argument: a file of rules");
    const { readRuleItems } = await import("../intentions/rules-file.ts");
    const Set: unknown[] = [];
    for (const file of args) {
      const bytes = file === "-" ? await terminal.readStdin() : readBytes(file, "Error");
      if (bytes.length > MAX_FILE)
        throw new CommandError(`Error: ${file}: ${bytes.length} bytes, at most ${MAX_FILE} are read`);
      try {
        Set.push(...readRuleItems(bytes.toString("utf8"), file));
      } catch (cause) {
        throw new CommandError(`Error: ${file}: ${(cause as Error).message}`, 1, { cause });
      }
    }
    await showPlan({ api, terminal, format: flags.format }, { Set });
  },
});

export interface Asking {
  api: ApiClient;
  terminal: Terminal;
  format: "json" | "pretty";
}

export async function showPlan({ api, terminal, format }: Asking, change: Change): Promise<void> {
  const asked = api.post<PlanAnswer>("/v1/connect/intentions/plan", { body: change });
  const { body, raw } = await attempt("Error planning the change", asked);
  if (format === "json") return printJson(terminal, raw);
  const { Connections, Cut, CutPairs, Opened, OpenedPairs, Unchanged, IdleRules } = body;
  terminal.out(
    CutPairs === 0
      ? "Nothing that was seen would be cut.\n"
      : `Cut: ${count(Connections, "open connection")}, ${count(CutPairs, "pair")} of services seen in the last 24 hours.\n${table(Cut)}`,
  );
  if (OpenedPairs > 0)
    terminal.out(
      `\nLet through: ${count(OpenedPairs, "pair")} that ${OpenedPairs === 1 ? "is" : "are"} refused now.\n${table(Opened)}`,
    );
  terminal.out(`\n${count(Unchanged, "pair")} as before. Known from ${count(body.Holders, "proxy", "proxies")}.\n`);
  sayUnreported(terminal, body.Unreported);
  for (const { Source, Destination, Because } of IdleRules)
    terminal.err(`The rule ${Source} -> ${Destination} would never change an outcome: ${Because}.\n`);
}

function table(pairs: Planned[]): string {
  const rows = pairs.map((pair) => [
    `${pair.Source} -> ${pair.Destination}`,
    String(pair.Open),
    String(pair.Bytes),
    pair.LastSeen || `refused ${pair.LastRefused}`,
    pair.Where.map(({ Node, Proxy, Count }) => `${place(Node, Proxy || pair.Destination)} (${Count})`).join(", ") ||
      "-",
    pair.After,
  ]);
  return columns([["Pair", "Open", "Bytes", "Last seen", "Where", "Then"], ...rows]);
}

/** What is not known is said, so that silence is not taken for "nothing". */
export function sayUnreported(terminal: Terminal, unreported: Unreported[]): void {
  if (unreported.length === 0) return;
  const named = unreported.slice(0, MAX_NAMED).map(({ Node, ServiceID }) => place(Node, ServiceID));
  const more = unreported.length > MAX_NAMED ? ` and ${unreported.length - MAX_NAMED} more` : "";
  terminal.err(`Nothing is told by ${named.join(", ")}${more}: not running, or not Heddle's.\n`);
}

const MAX_NAMED = 10;

export const place = (node: string, proxy: string): string => `${node}/${proxy}`;

export function count(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}
