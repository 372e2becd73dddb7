/** `heddle watch`: prints a view of the data, or tells a program or an HTTP endpoint each time it has changed. */
import {
  type HttpHandler,
  parseDeliver,
  parseFireOn,
  parseHttpHandler,
  parseWatchPlan,
  readWatchPlan,
  tellHttpHandler,
  type WatchChange,
  watchChanges,
  type WatchPlan,
} from "@heddle/api-client";
import { describeError } from "@heddle/daemon";
import { runChild } from "../child.ts";
import { attempt, command, CommandError, explain } from "../command.ts";
import { flag } from "../flags.ts";
import { formatJson } from "../output.ts";
import type { Terminal } from "../terminal.ts";
import { fileCursor } from "../watch-cursor.ts";

export const watch = command({
  usage: "watch [options] [CHILD...]",
  about: `Watches a view of the data. Without CHILD, prints it once as JSON. With CHILD, runs it at once and after each
change, with the view as JSON on standard input and its index in CONSUL_INDEX (and HEDDLE_INDEX); it ends with status 1 when
CHILD fails. With -http-handler, sends the same as the body of a request, and goes on whatever is answered.

With -cursor what was told last is kept in a file: the next start tells what has changed since, and tells again what failed, under
the same id (HEDDLE_CHANGE_ID, X-Heddle-Change-ID).

    $ heddle watch -type=service -service=web ./reconfigure.sh
    $ heddle watch -type=key -key=config/mode cat
    $ heddle watch -type=services -http-handler=http://localhost:9000/changed`,
  api: "datacenter",
  argumentsAreData: true,
  flags: {
    cursor: flag.text("File that keeps what was told last. A failure, also of -http-handler, ends with status 1."),
    deliver: flag.text("view: what there is; change: {ID, Index, Before, After, Added, Removed, Changed}.", "view"),
    fireOn: flag.text("initial: CHILD runs at once and after changes; change: after changes alone.", "initial"),
    format: flag.format(),
    httpHandler: flag.text("URL of the HTTP endpoint to tell, in place of CHILD."),
    httpHeader: flag.list("Header for the HTTP endpoint, as 'Name: value'."),
    httpMethod: flag.text("Method for the HTTP endpoint.", "POST"),
    httpTimeout: flag.text("Longest time that the HTTP endpoint may take.", "10s"),
    httpTlsSkipVerify: flag.boolean("Do not check the certificate of the HTTP endpoint."),
    key: flag.text("The key, for type key."),
    name: flag.text("Name of the event, for type event."),
    passingonly: flag.text("true: only healthy instances, for type service."),
    prefix: flag.text("The prefix, for type keyprefix."),
    service: flag.text("The service, for types service, checks and connect_leaf."),
    serviceId: flag.text("Id of the instance, for type agent_service."),
    shell: { ...flag.boolean("Run CHILD by $SHELL or /bin/sh."), default: true },
    state: flag.text("State of the checks, for type checks."),
    tag: flag.list("Tag of the instances, for type service."),
    type: flag.text(
      "One of key, keyprefix, services, nodes, service, checks, event, connect_roots, connect_leaf, agent_service.",
    ),
  },
  async run({ api, args, flags, terminal }) {
    if (flags.type === "") throw new CommandError("Watch type must be specified\nSee 'heddle watch --help'.");
    const plan = planOf(flags);
    const fireOn = orRefuse(() => parseFireOn(flags.fireOn));
    const deliver = orRefuse(() => parseDeliver(flags.deliver));
    const http = flags.httpHandler === "" ? undefined : handlerOf(flags);
    if (http && args.length > 0) throw new CommandError("Only one watch handler allowed: want CHILD or -http-handler");
    const now = await attempt("Error querying the agent", readWatchPlan(api, plan));
    if (args.length === 0 && !http) return terminal.out(`${formatJson(now.value)}\n`);

    const { interrupted: signal } = terminal;
    const changes = watchChanges(api, plan, {
      signal,
      fireOn,
      deliver,
      cursor: flags.cursor === "" ? undefined : fileCursor(flags.cursor),
      onError: ({ error, attempt: count }) =>
        count === 1 && terminal.err(`Watch errored: ${explain(error)}, trying again\n`),
    });
    for await (const change of changes) {
      const failure = http
        ? await tellHttpHandler(http, change, signal).then(() => undefined, describeError)
        : await runHandler(args, flags.shell, change, terminal);
      if (failure === undefined) continue;
      if (signal.aborted) return;
      const text = `Error executing handler: ${failure}`;
      // An endpoint may say what it likes, unless somebody keeps count of what it was told.
      if (!http || flags.cursor !== "") throw new CommandError(text);
      terminal.err(`${text}\n`);
    }
  },
});

/** Why it failed, or undefined. */
function runHandler(
  args: readonly string[],
  shell: boolean,
  { id, index, json }: WatchChange,
  terminal: Terminal,
): Promise<string | undefined> {
  const env = { ...terminal.env, CONSUL_INDEX: String(index), HEDDLE_INDEX: String(index), HEDDLE_CHANGE_ID: id };
  const child = runChild(args, { shell, env, stdin: Buffer.from(`${json}\n`) });
  const stop = () => void child.stop();
  terminal.interrupted.addEventListener("abort", stop, { once: true });
  return child.ended.finally(() => terminal.interrupted.removeEventListener("abort", stop));
}

interface WatchFlags {
  type: string;
  key: string;
  name: string;
  passingonly: string;
  prefix: string;
  service: string;
  serviceId: string;
  state: string;
  tag: string[];
}

function planOf({ passingonly, serviceId, tag, ...texts }: WatchFlags): WatchPlan {
  const { type, key, name, prefix, service, state } = texts;
  const given = Object.entries({ type, key, name, prefix, service, state, service_id: serviceId }).filter(
    ([, text]) => text !== "",
  );
  return orRefuse(() =>
    parseWatchPlan({
      ...Object.fromEntries(given),
      ...(tag.length > 0 && { tag }),
      ...(passingonly !== "" && { passingonly: parsePassing(passingonly) }),
    }),
  );
}

function handlerOf(flags: {
  httpHandler: string;
  httpHeader: string[];
  httpMethod: string;
  httpTimeout: string;
  httpTlsSkipVerify: boolean;
}): HttpHandler {
  const header = new Map<string, string[]>();
  for (const text of flags.httpHeader) {
    const at = text.indexOf(":");
    if (at < 1) throw new CommandError(`invalid -http-header '${text}': want 'Name: value'`);
    const name = text.slice(0, at).trim();
    header.set(name, [...(header.get(name) ?? []), text.slice(at + 1).trim()]);
  }
  return orRefuse(() =>
    parseHttpHandler({
      path: flags.httpHandler,
      method: flags.httpMethod,
      timeout: flags.httpTimeout,
      header: Object.fromEntries(header),
      tls_skip_verify: flags.httpTlsSkipVerify,
    }),
  );
}

/** What is wrong with a flag ends the command in the parser's own words. */
function orRefuse<T>(parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new CommandError((cause as Error).message, 1, { cause });
  }
}

function parsePassing(text: string): boolean {
  if (/^(?:0|f|false)$/i.test(text)) return false;
  if (/^(?:1|t|true)$/i.test(text)) return true;
  throw new CommandError(`Failed to parse passingonly flag: '${text}': want true or false`);
}
