/** `heddle reload|leave|force-leave|join`: orders to an agent. */
import { attempt, command, CommandError, explain } from "../command.ts";
import { flag } from "../flags.ts";

const LEAVE_TIMEOUT_MS = 60_000; // the agent drains before it answers

export const reload = command({
  usage: "reload [options]",
  about: "Makes the agent read its configuration files again, as SIGHUP does. Files that it refuses change nothing.",
  api: "agent",
  async run({ api, terminal }) {
    await attempt("Error reloading", api.put("/v1/agent/reload"));
    terminal.out("Configuration reload triggered\n");
  },
});

export const leave = command({
  usage: "leave [options]",
  about: "Makes the agent leave its cluster: it takes its services out of the catalog and ends.",
  api: "agent",
  async run({ api, args, terminal }) {
    // Whoever names a node means another one than this agent's: `force-leave` takes a name.
    if (args.length > 0)
      throw new CommandError(
        `Too many arguments (expected 0, got ${args.length}): it is the agent asked that leaves; force-leave takes a NAME.\nSee 'heddle leave --help'.`,
      );
    await attempt("Error leaving", api.put("/v1/agent/leave", { timeoutMs: LEAVE_TIMEOUT_MS }));
    terminal.out("Graceful leave complete\n");
  },
});

export const forceLeave = command({
  usage: "force-leave [options] NAME",
  about: "Makes the cluster count a node as left that is gone for good. A node that still runs comes back by itself.",
  api: "agent",
  flags: { prune: flag.boolean("Take it out of the list of members at once.") },
  async run({ api, args, flags }) {
    if (args.length !== 1)
      throw new CommandError("A single node name must be specified to force leave.\nSee 'heddle force-leave --help'.");
    const path = `/v1/agent/force-leave/${encodeURIComponent(args[0] as string)}`;
    await attempt("Error force leaving", api.put(path, { query: { prune: flags.prune } }));
  },
});

export const join = command({
  usage: "join [options] ADDRESS...",
  about: "Makes the agent join the cluster of the agents at these addresses.",
  api: "agent",
  flags: { wan: flag.boolean("Join the servers of another datacenter.") },
  async run({ api, args, flags, terminal }) {
    if (args.length === 0)
      throw new CommandError("At least one address to join must be specified.\nSee 'heddle join --help'.");
    let joined = 0;
    for (const address of args) {
      try {
        await api.put(`/v1/agent/join/${encodeURIComponent(address)}`, { query: { wan: flags.wan ? "1" : undefined } });
        joined++;
      } catch (error) {
        terminal.err(`Error joining address '${address}': ${explain(error)}\n`);
      }
    }
    if (joined === 0) throw new CommandError("Failed to join any nodes.");
    terminal.out(`Successfully joined cluster by contacting ${joined} nodes.\n`);
  },
});
