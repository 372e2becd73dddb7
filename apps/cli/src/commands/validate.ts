/** `heddle validate`: reads configuration as an agent would, and starts nothing. */
import { loadAgentConfig } from "@heddle/agent";
import { ConfigError } from "@heddle/daemon";
import { command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";

export const validate = command({
  usage: "validate [options] FILE_OR_DIRECTORY...",
  about:
    "Reads configuration files and directories as `heddle agent` would, together, and names everything that is wrong\nwith file and line. Exit status 0 where nothing is, otherwise 1.\n\n    $ heddle validate ./mesh.d",
  flags: {
    configFormat: flag.text("Read every file as 'hcl' or 'json', whatever its name."),
    quiet: flag.boolean("Print nothing where nothing is wrong."),
  },
  async run({ args, flags, terminal }) {
    if (args.length === 0) throw new CommandError("Must specify at least one config file or directory");
    if (!["", "hcl", "json"].includes(flags.configFormat))
      throw new CommandError("-config-format must be either 'hcl' or 'json'");
    const argv = args.flatMap((path) => ["-config-file", path]);
    if (flags.configFormat) argv.push("-config-format", flags.configFormat);
    try {
      for (const warning of loadAgentConfig({ argv }).warnings) if (!flags.quiet) terminal.err(`${warning}\n`);
    } catch (cause) {
      if (!(cause instanceof ConfigError)) throw cause;
      throw new CommandError(cause.problems.map((problem) => `Config validation failed: ${problem}`).join("\n"), 1, {
        cause,
      });
    }
    if (!flags.quiet) terminal.out("Configuration is valid!\n");
  },
});
