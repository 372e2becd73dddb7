/** `heddle maint`: maintenance mode of a node or of one of its services. */
import { attempt, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";
import { formatJson } from "../output.ts";

const NODE_CHECK = "_node_maintenance";
const SERVICE_CHECK = "_service_maintenance:";

interface AgentCheck {
  CheckID: string;
  Node: string;
  ServiceID: string;
  Notes: string;
}

export const maint = command({
  usage: "maint [options]",
  about: `Puts the agent's node, or with -service one service, into maintenance mode: a critical check keeps it out of every
answer until -disable. Without -enable or -disable, prints what is in maintenance mode.

    $ heddle maint -enable -service=web -reason="new disk"
    $ heddle maint -disable -service=web`,
  api: "agent",
  flags: {
    disable: flag.boolean("End maintenance mode."),
    enable: flag.boolean("Begin maintenance mode."),
    format: flag.format(),
    reason: flag.text("Why, for those who look at the check."),
    service: flag.text("Id of the service; without it, the node."),
  },
  async run({ api, flags, terminal }) {
    const { enable, disable, reason, service } = flags;
    if (enable && disable) throw new CommandError("Only one of -enable or -disable may be provided");
    if (!enable && reason) throw new CommandError("Reason may only be provided with -enable");
    if (!enable && !disable && service) throw new CommandError("Service requires either -enable or -disable");
    if (!enable && !disable) {
      const { body } = await attempt("Error getting checks", api.get<Record<string, AgentCheck>>("/v1/agent/checks"));
      const found = Object.values(body).filter(
        ({ CheckID }) => CheckID === NODE_CHECK || CheckID.startsWith(SERVICE_CHECK),
      );
      if (flags.format === "json") return terminal.out(`${formatJson(found)}\n`);
      for (const check of found) {
        if (check.CheckID === NODE_CHECK) terminal.out(`Node:\n  Name:   ${check.Node}\n  Reason: ${check.Notes}\n\n`);
        else terminal.out(`Service:\n  ID:     ${check.ServiceID}\n  Reason: ${check.Notes}\n\n`);
      }
      return;
    }
    const what = service ? "service" : "node";
    const path = service ? `/v1/agent/service/maintenance/${encodeURIComponent(service)}` : "/v1/agent/maintenance";
    const answer = api.put(path, { query: { enable: String(enable), reason: reason || undefined } });
    await attempt(`Error ${enable ? "enabling" : "disabling"} ${what} maintenance`, answer);
    const mode = enable ? "enabled" : "disabled";
    terminal.out(
      service ? `Service maintenance is now ${mode} for "${service}"\n` : `Node maintenance is now ${mode}\n`,
    );
  },
});
