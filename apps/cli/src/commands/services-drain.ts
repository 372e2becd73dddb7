/** `heddle services drain`: a service leaves DNS and the mesh's endpoints at once, and goes when its last caller has. */
import { ApiError } from "@heddle/api-client";
import { formatDuration, sleep } from "@heddle/daemon";
import { attempt, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";

const POLL_MS = 250;
const DEFAULT_TIMEOUT_MS = 30_000;

export const drain = command({
  usage: "services drain [options] ID",
  about: `Drains a service of the local agent, with its sidecar: it takes no new callers, its open connections go on, and
when the last has ended, or -timeout is over, it is deregistered. Ends when it is.

    $ heddle services drain web-1
    $ heddle services drain -cancel web-1`,
  api: "agent",
  flags: {
    cancel: flag.boolean("Take callers again."),
    detach: flag.boolean("Do not wait for the end; the agent goes on by itself."),
    timeout: flag.duration("How long open connections may take.", DEFAULT_TIMEOUT_MS),
  },
  async run({ api, args: [id, ...more], flags, terminal }) {
    if (id === undefined || more.length > 0) throw new CommandError("services drain takes the id of one service.");
    const path = encodeURIComponent(id);
    const query = flags.cancel ? { cancel: "1" } : { timeout: formatDuration(flags.timeout) };
    await attempt(`Error draining service "${id}"`, api.put(`/v1/agent/service/drain/${path}`, { query }));
    if (flags.cancel) return terminal.out(`Takes callers again: ${id}\n`);
    terminal.out(`Draining service: ${id}\n`);
    if (flags.detach) return;
    while (await isThere()) await sleep(POLL_MS);
    terminal.out(`Deregistered service: ${id}\n`);

    async function isThere(): Promise<boolean> {
      const found = api.get(`/v1/agent/service/${path}`).then(
        () => true,
        (error: unknown) => {
          if (error instanceof ApiError && error.status === 404) return false;
          throw error;
        },
      );
      return attempt(`Error reading service "${id}"`, found);
    }
  },
});
