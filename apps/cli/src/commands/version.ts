/** `heddle version`. */
import { command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";
import { formatJson } from "../output.ts";
import { VERSION } from "../version.ts";

/** The Consul whose recorded answers Heddle is held against. */
const CONSUL_VERSION = "1.8.7";

export const version = command({
  usage: "version [options]",
  about: "Prints the version.",
  flags: { format: flag.text("How to print: pretty or json.", "pretty") },
  async run({ flags, terminal }) {
    if (flags.format === "json")
      terminal.out(`${formatJson({ Version: VERSION, Revision: "", Prerelease: "", Consul: CONSUL_VERSION }, 3)}\n`);
    else if (flags.format === "pretty")
      terminal.out(
        `Heddle v${VERSION}\nSpeaks the HTTP API, the DNS and the proxy protocol of Consul ${CONSUL_VERSION}\n`,
      );
    else throw new CommandError(`Unknown format: ${flags.format}`);
  },
});
