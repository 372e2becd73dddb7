/** `heddle watch`: prints a view of the data, or runs a program each time it has changed. */
import type { ApiResponse, Query } from "@heddle/api-client";
import { runChild } from "../child.ts";
import { attempt, command, CommandError, explain } from "../command.ts";
import { flag } from "../flags.ts";
import { formatJson, parseExact } from "../output.ts";
import { keyPath } from "./kv-read.ts";

interface View {
  path: string;
  query?: Query;
  /** What the handler gets of the answer. */
  pick?: (body: unknown) => unknown;
}

const first = (body: unknown) => (Array.isArray(body) ? (body as unknown[])[0] : null) ?? null;

export const watch = command({
  usage: "watch [options] [CHILD...]",
  about: `Watches a view of the data. Without CHILD, prints it once as JSON. With CHILD, runs it at once and after each
change, with the view as JSON on standard input and its index in CONSUL_INDEX.

    $ heddle watch -type=service -service=web ./reconfigure.sh
    $ heddle watch -type=key -key=config/mode cat`,
  api: "datacenter",
  argumentsAreData: true,
  flags: {
    key: flag.text("The key, for type key."),
    name: flag.text("Name of the event, for type event."),
    passingonly: flag.text("true: only healthy instances, for type service."),
    prefix: flag.text("The prefix, for type keyprefix."),
    service: flag.text("The service, for types service and checks."),
    shell: { ...flag.boolean("Run CHILD by $SHELL or /bin/sh."), default: true },
    state: flag.text("State of the checks, for type checks."),
    tag: flag.list("Tag of the instances, for type service."),
    type: flag.text("One of key, keyprefix, services, nodes, service, checks, event."),
  },
  async run({ api, args, flags, seen, terminal }) {
    if (flags.type === "") throw new CommandError("Watch type must be specified\nSee 'heddle watch --help'.");
    const view = viewOf(flags, seen);
    const toText = (answer: ApiResponse, indent: number) => {
      const body = answer.status === 404 ? null : parseExact(answer.raw.toString("utf8"));
      return formatJson(view.pick ? view.pick(body) : body, indent);
    };
    const options = { query: view.query ?? {}, allow: [404] };
    const answer = await attempt("Error querying the agent", api.get(view.path, options));
    if (args.length === 0) return terminal.out(`${toText(answer, 4)}\n`);

    const { interrupted: signal } = terminal;
    let last: string | undefined;
    const changes = api.watch(view.path, {
      ...options,
      signal,
      onError: ({ error, attempt: count }) =>
        count === 1 && terminal.err(`Watch errored: ${explain(error)}, trying again\n`),
    });
    for await (const change of changes) {
      const text = toText(change, 0);
      if (text === last) continue;
      last = text;
      const env = { ...terminal.env, CONSUL_INDEX: String(change.index) };
      const child = runChild(args, { shell: flags.shell, env, stdin: Buffer.from(`${text}\n`) });
      signal.addEventListener("abort", () => void child.stop(), { once: true });
      const failure = await child.ended;
      if (failure !== undefined && !signal.aborted) terminal.err(`Error executing handler: ${failure}\n`);
    }
  },
});

interface WatchFlags {
  type: string;
  key: string;
  name: string;
  passingonly: string;
  prefix: string;
  service: string;
  state: string;
  tag: string[];
}

function viewOf(flags: WatchFlags, seen: ReadonlySet<string>): View {
  const views: Record<string, { takes: (keyof WatchFlags)[]; view: () => View }> = {
    key: { takes: ["key"], view: () => ({ path: keyPath(wanted(flags.key, "key")), pick: first }) },
    keyprefix: {
      takes: ["prefix"],
      view: () => ({ path: keyPath(wanted(flags.prefix, "prefix")), query: { recurse: true } }),
    },
    services: { takes: [], view: () => ({ path: "/v1/catalog/services" }) },
    nodes: { takes: [], view: () => ({ path: "/v1/catalog/nodes" }) },
    service: {
      takes: ["service", "tag", "passingonly"],
      view: () => ({
        path: `/v1/health/service/${encodeURIComponent(wanted(flags.service, "service"))}`,
        query: { tag: flags.tag, passing: isOn(flags.passingonly) },
      }),
    },
    checks: { takes: ["service", "state"], view: () => checksView(flags) },
    event: { takes: ["name"], view: () => ({ path: "/v1/event/list", query: { name: flags.name || undefined } }) },
  };
  const known = Object.hasOwn(views, flags.type) ? views[flags.type] : undefined;
  if (!known) throw new CommandError(`Unsupported watch type: ${flags.type}`);
  const view = known.view();
  const others = ["key", "name", "passingonly", "prefix", "service", "state", "tag"] as const;
  const wrong = others.filter((name) => seen.has(name) && !known.takes.includes(name));
  if (wrong.length > 0) throw new CommandError(`Invalid parameters: [${wrong.join(" ")}]`);
  return view;
}

function checksView({ service, state }: WatchFlags): View {
  if (service && state) throw new CommandError("Cannot specify service and state");
  return {
    path: service
      ? `/v1/health/checks/${encodeURIComponent(service)}`
      : `/v1/health/state/${encodeURIComponent(state || "any")}`,
  };
}

function wanted(value: string, what: string): string {
  if (value === "") throw new CommandError(`Must specify a single ${what} to watch`);
  return value;
}

function isOn(text: string): boolean {
  if (text === "" || /^(?:0|f|false)$/i.test(text)) return false;
  if (/^(?:1|t|true)$/i.test(text)) return true;
  throw new CommandError(`Failed to parse passingonly flag: '${text}': want true or false`);
}
