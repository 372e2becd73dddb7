/** `heddle intention explain`: Heddle's own. */
import type { Explanation } from "@heddle/intentions";
import { place, sayUnreported, type Unreported } from "./intention-plan.ts";
import { attempt, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";
import { columns, printJson } from "../output.ts";
import type { Terminal } from "../terminal.ts";

export const explainDecision = command({
  usage: "intention explain [options] SRC DST",
  about:
    "Tells whether SRC may connect to DST, which rule decides, why every other rule that matches lost, which rules look as if they\nwere meant but do not match, and what would hold without rules. And which\nversion of the rules each proxy of DST holds.\n\n    $ heddle intention explain web db",
  api: "datacenter",
  flags: { format: flag.format() },
  async run({ api, args, flags, terminal }) {
    const [source, destination] = args;
    if (args.length !== 2) throw new CommandError("Error: command requires exactly two arguments: src and dst");
    const asked = api.get<Explained>("/v1/connect/intentions/explain", { query: { source, destination } });
    const { body, raw } = await attempt("Error explaining the decision", asked);
    if (flags.format === "json") return printJson(terminal, raw);
    const word = (allowed: boolean) => (allowed ? "allowed" : "denied");
    terminal.out(
      columns([
        ["Decision", `${body.Source} -> ${body.Destination}: ${word(body.Allowed)}`],
        ["Reason", body.Reason],
        ["Default", `${word(body.Default.Allowed)} (${body.Default.Reason})`],
      ]),
    );
    showTrace(terminal, body);
    showHolders(terminal, body);
  },
});

interface Explained extends Explanation {
  Version?: number;
  Holders?: {
    Node: string;
    Proxy: string;
    Version: number;
    LastSeen: string;
    IsCurrent: boolean;
    IsSilent: boolean;
    Open: number;
  }[];
  Unreported?: Unreported[];
  IdleRules?: { ID: string; Because: string }[];
}

function showTrace(terminal: Terminal, { Trace }: Explained): void {
  if (Trace.length === 0) return;
  const rows = Trace.map((step) => [
    `${step.Source} -> ${step.Destination}`,
    step.Action,
    String(step.Precedence),
    `${step.Outcome}: ${step.Why}`,
    step.ID,
  ]);
  terminal.out(`\n${columns([["Rule", "Action", "Precedence", "Outcome", "ID"], ...rows])}`);
}

/** A server of an older version says nothing of them. */
function showHolders(terminal: Terminal, body: Explained): void {
  const { Version = 0, Holders = [], Unreported = [], IdleRules = [] } = body;
  if (Holders.length > 0) {
    const rows = Holders.map((holder) => [
      place(holder.Node, holder.Proxy || body.Destination),
      `${holder.Version} (${holder.IsSilent ? "silent" : holder.IsCurrent ? "current" : `not yet ${Version}`})`,
      String(holder.Open),
      holder.LastSeen,
    ]);
    terminal.out(`\n${columns([["Proxy", "Version", "Open", "Last heard of"], ...rows])}`);
  }
  sayUnreported(terminal, Unreported);
  for (const { ID, Because } of IdleRules) terminal.err(`The rule ${ID} never changes an outcome: ${Because}.\n`);
}
