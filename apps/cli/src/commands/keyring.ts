/** `heddle keyring`: the keys of gossip. Heddle's agents have none and say so; Consul's keep them. */
import type { Query } from "@heddle/api-client";
import { attempt, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";
import { columns, formatJson } from "../output.ts";

const PATH = "/v1/operator/keyring";
const MAX_RELAY = 5;

interface Ring {
  WAN: boolean;
  Datacenter: string;
  Segment?: string;
  NumNodes: number;
  Keys: Record<string, number> | null;
  PrimaryKeys?: Record<string, number> | null;
}

export const keyring = command({
  usage: "keyring [options]",
  about:
    "Lists and changes the keys that a cluster's gossip is encrypted with. Heddle has no gossip, so its agents answer that\nthere is no keyring; the command is for Consul's.",
  api: "agent",
  flags: {
    format: flag.format(),
    install: flag.text("Install this key on all nodes."),
    list: flag.boolean("List the keys."),
    listPrimary: flag.boolean("List the keys that nodes encrypt with."),
    localOnly: flag.boolean("List those of the local servers only."),
    relayFactor: flag.integer("Over how many random other nodes answers are sent as well, up to 5.", -1e9, 1e9, 0),
    remove: flag.text("Remove this key from all nodes; it must not be the primary one."),
    use: flag.text("Make this key, which is installed, the primary one."),
  },
  async run({ api, flags, terminal }) {
    const { install, list, listPrimary, localOnly, relayFactor, remove, use } = flags;
    const actions = [install, list, listPrimary, remove, use].filter(Boolean).length;
    if (actions === 0)
      throw new CommandError(
        "want one of -list, -list-primary, -install, -use and -remove\nSee 'heddle keyring --help'.",
      );
    if (actions > 1) throw new CommandError("Only a single action is allowed");
    if (relayFactor < 0 || relayFactor > MAX_RELAY)
      throw new CommandError(`Error parsing relay factor: Relay factor must be in range: [0, ${MAX_RELAY}]`);
    if (localOnly && !list && !listPrimary)
      throw new CommandError("Error validating local-only: local-only can only be set for list requests");
    const query: Query = { "relay-factor": relayFactor || undefined, "local-only": localOnly ? "true" : undefined };
    if (list || listPrimary) {
      const say = (text: string) => flags.format === "json" || terminal.out(text);
      say(`==> Gathering installed ${listPrimary ? "primary " : ""}encryption keys...\n`);
      const { body } = await attempt("error", api.get<Ring[]>(PATH, { query }));
      if (flags.format === "json") return terminal.out(`${formatJson(body)}\n`);
      for (const ring of body) terminal.out(describe(ring, listPrimary));
      return;
    }
    const { words, key, method } = changeOf({ install, use, remove });
    terminal.out(`==> ${words}...\n`);
    await attempt("error", api[method](PATH, { query, body: { Key: key } }));
  },
});

interface Change {
  words: string;
  key: string;
  method: "post" | "put" | "delete";
}

function changeOf({ install, use, remove }: { install: string; use: string; remove: string }): Change {
  if (install) return { words: "Installing new gossip encryption key", key: install, method: "post" };
  if (use) return { words: "Changing primary gossip encryption key", key: use, method: "put" };
  return { words: "Removing gossip encryption key", key: remove, method: "delete" };
}

/** A pool's name, and for each key how many of its nodes have it. */
function describe({ WAN, Datacenter, Segment, NumNodes, Keys, PrimaryKeys }: Ring, isPrimary: boolean): string {
  const pool = WAN ? "WAN" : `${Datacenter} (LAN)${Segment ? ` [${Segment}]` : ""}`;
  const rows = Object.entries((isPrimary ? PrimaryKeys : Keys) ?? {}).map(([key, count]) => [
    `  ${key}`,
    `[${count}/${NumNodes}]`,
  ]);
  return `\n${pool}:\n${rows.length > 0 ? columns(rows, " ") : ""}`;
}
