/** `heddle monitor`: an agent's log as it happens. */
import { attempt, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";

const UNTIL_INTERRUPTED_MS = 2 ** 31 - 1; // the longest that a timer can wait

export const monitor = command({
  usage: "monitor [options]",
  about:
    "Prints the agent's log until interrupted, also at levels that the agent itself does not log.\n\n    $ heddle monitor -log-level=debug",
  api: "agent",
  flags: {
    format: flag.oneOf("json is what -log-json is.", ["pretty", "json"], "pretty"),
    logJson: flag.boolean("One JSON object a line."),
    logLevel: flag.text("Least level: trace, debug, info, warn or error.", "INFO"),
  },
  async run({ api, flags, terminal }) {
    const query = { loglevel: flags.logLevel, logjson: flags.logJson || flags.format === "json" ? "true" : undefined };
    const { interrupted: signal } = terminal;
    try {
      const log = await api.stream("GET", "/v1/agent/monitor", { query, signal, timeoutMs: UNTIL_INTERRUPTED_MS });
      for await (const chunk of log as AsyncIterable<Buffer>) terminal.out(chunk);
    } catch (error) {
      if (signal.aborted) return 0;
      await attempt("Error starting monitor", Promise.reject(error as Error));
    }
    throw new CommandError(
      "Remote side ended the monitor! This usually means that the\nremote side has exited or crashed.",
    );
  },
});
