/** `heddle connect ca get-config|set-config|status`. */
import { formatDuration } from "@heddle/daemon";
import { attempt, command, CommandError } from "../command.ts";
import { readBytes } from "../data.ts";
import { flag } from "../flags.ts";
import { columns, formatJson, parseExact, printJson } from "../output.ts";

const CA = "/v1/connect/ca";
const PATH = `${CA}/configuration`;
const ROTATION_TIMEOUT_MS = 60_000; // another provider means a new root, cross-signed by the old one

export const getConfig = command({
  usage: "connect ca get-config [options]",
  about: "Prints the configuration of the mesh's certificate authority as JSON.",
  api: "datacenter",
  flags: { format: flag.jsonFormat() },
  async run({ api, terminal }) {
    const { raw } = await attempt("Error querying CA configuration", api.get(PATH));
    terminal.out(`${formatJson(parseExact(raw.toString("utf8")), "\t")}\n`);
  },
});

export const setConfig = command({
  usage: "connect ca set-config [options]",
  about:
    "Changes the configuration of the mesh's certificate authority to that of a JSON file.\n\n    $ heddle connect ca set-config -config-file=ca.json",
  api: "datacenter",
  flags: { configFile: flag.text("File with Provider and Config; - is standard input.") },
  async run({ api, flags, terminal }) {
    if (flags.configFile === "") throw new CommandError("The -config-file flag is required");
    const bytes =
      flags.configFile === "-" ? await terminal.readStdin() : readBytes(flags.configFile, "Error reading config file");
    let body: unknown;
    try {
      body = JSON.parse(bytes.toString("utf8"));
    } catch (cause) {
      throw new CommandError(`Error parsing config file: ${(cause as Error).message}`, 1, { cause });
    }
    await attempt("Error setting CA configuration", api.put(PATH, { body, timeoutMs: ROTATION_TIMEOUT_MS }));
    terminal.out("Configuration updated!\n");
  },
});

interface Rotation {
  Phase: "followed" | "following" | "preparing" | "taken back";
  Since: string;
  /** Of what is to follow, 0 to 1. */
  Followed: number | null;
  Because: string | null;
}

interface Status {
  TrustDomain: string;
  State: "rotating" | "steady";
  Roots: {
    ID: string;
    Active: boolean;
    PrivateKeyType: string;
    PrivateKeyBits: number;
    DaysLeft: number;
    Leaves: number;
    RemoveAt: string | null;
  }[];
  /** Both missing where the CA is of an older version. */
  Rotation?: Rotation | null;
  LastAbortedAt?: string | null;
  RenewAt: string | null;
  Intermediate: { ID: string; DaysLeft: number; RenewAt: string | null } | null;
  Following: Record<
    "Agents" | "AgentsInformed" | "Leaves" | "LeavesRenewed" | "Proxies" | "ProxiesTrusting",
    number
  > & {
    WaitsFor: string[];
    /** Missing where the CA is of an older version. */
    ClocksApart?: { Agent: string; AheadMs: number }[];
  };
  Followers: number;
  LeavesCountedSince: string;
}

export const status = command({
  usage: "connect ca status [options]",
  about:
    "Shows the roots of the mesh: which one signs, how many leaves lead to each, and what an old one waits for.\n\n    $ heddle connect ca status",
  api: "datacenter",
  flags: { format: flag.format() },
  async run({ api, flags, terminal }) {
    const { body, raw } = await attempt("Error querying the CA's status", api.get<Status>(`${CA}/status`));
    if (flags.format === "json") return printJson(terminal, raw);
    const { Following: following } = body;
    const facts = [
      ["Trust domain:", body.TrustDomain],
      ["State:", body.State],
      ...(body.Rotation ? [["Rotation:", describeRotation(body.Rotation)]] : []),
      ...(body.LastAbortedAt ? [["Aborted:", `${body.LastAbortedAt}, while it was being prepared`]] : []),
      ["Next root:", body.RenewAt ?? "by its operator"],
      ...(body.Intermediate ? [["Signer:", `intermediate ${body.Intermediate.ID}`]] : []),
      ...(body.Intermediate ? [["Next signer:", body.Intermediate.RenewAt ?? "by its operator"]] : []),
      ["Agents:", `${following.AgentsInformed} of ${following.Agents} know the active root`],
      ["Proxies:", `${following.ProxiesTrusting} of ${following.Proxies} trust it`],
      ["Leaves in use:", `${following.LeavesRenewed} of ${following.Leaves} are signed by it`],
      ...following.WaitsFor.map((agent, i) => [i === 0 ? "Waits for:" : "", agent]),
      ...(following.ClocksApart ?? []).map(({ Agent, AheadMs }, i) => [
        i === 0 ? "Clocks apart:" : "",
        `${formatDuration(Math.round(Math.abs(AheadMs) / 1_000) * 1_000)} ${AheadMs > 0 ? "ahead" : "behind"}: ${Agent}`,
      ]),
      ["Followers:", `${body.Followers} know the list as it is`],
      ["Leaves:", `counted since ${body.LeavesCountedSince}`],
    ];
    const roots = body.Roots.map((root) => [
      root.ID,
      root.Active ? "active" : "trusted",
      `${root.PrivateKeyType} ${root.PrivateKeyBits}`,
      String(root.DaysLeft),
      String(root.Leaves),
      root.RemoveAt ?? "-",
    ]);
    terminal.out(
      `${columns(facts)}\n${columns([["Root", "State", "Key", "Days left", "Leaves", "Removed at"], ...roots])}`,
    );
  },
});

function describeRotation({ Phase, Since, Followed, Because }: Rotation): string {
  switch (Phase) {
    case "preparing":
      return `being prepared since ${Since}, nothing is switched yet ('connect ca abort' stops it)`;
    case "following":
      return Followed === null
        ? `switched at ${Since}, no proxy is heard of ('connect ca abort' takes it back)`
        : `switched at ${Since}, followed to ${Math.floor(Followed * 100)} % ('connect ca abort' takes it back)`;
    case "followed":
      return `switched at ${Since}, all have followed; the old root waits for its last leaves`;
    case "taken back":
      return `taken back at ${Since}${Because ? `: ${Because}` : ""}`;
  }
}
