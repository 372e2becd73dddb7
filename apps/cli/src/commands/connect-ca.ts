/** `heddle connect ca get-config|set-config`. */
import { attempt, command, CommandError } from "../command.ts";
import { readBytes } from "../data.ts";
import { flag } from "../flags.ts";
import { formatJson, parseExact } from "../output.ts";

const PATH = "/v1/connect/ca/configuration";
const ROTATION_TIMEOUT_MS = 60_000; // another provider means a new root, cross-signed by the old one

export const getConfig = command({
  usage: "connect ca get-config [options]",
  about: "Prints the configuration of the mesh's certificate authority as JSON.",
  api: "datacenter",
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
