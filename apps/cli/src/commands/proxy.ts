/** `heddle proxy`: what the running proxies of this machine do, asked over their admin sockets. No agent is asked. */
import {
  type ConnectionView,
  defaultAdminDir,
  findRunning,
  type InstanceView,
  type RunningAdmin,
} from "@heddle/connect-proxy";
import { formatDuration, sleep } from "@heddle/daemon";
import { type Command, command, CommandError } from "../command.ts";
import { flag } from "../flags.ts";
import { columns, formatJson } from "../output.ts";

const WATCH_MS = 1_000;
const CLEAR = "\u001b[H\u001b[2J";

interface Of<T> {
  usage: string;
  about: string;
  ask: (proxy: RunningAdmin, limit: number) => Promise<T>;
  /** Lines, under a header for each process where there are several. */
  show: (proxy: RunningAdmin, answer: T) => string;
  hasLimit?: boolean;
}

function proxyCommand<T>({ usage, about, ask, show, hasLimit = false }: Of<T>): Command {
  return command({
    usage: `proxy ${usage} [options]`,
    about,
    flags: {
      adminDir: {
        ...flag.text("Folder of the admin sockets; that of proxies of this user by default."),
        env: ["HEDDLE_RUNTIME_DIR"],
      },
      proxyId: flag.text("Only the process that stands for the proxy, or the service, of this name."),
      format: flag.format(),
      watch: flag.boolean("Again each second, until interrupted."),
      ...(hasLimit && { limit: flag.integer("How many connections at most, the oldest first.", 1, 100_000, 1_000) }),
    },
    async run({ flags, terminal }) {
      const dir = flags.adminDir || defaultAdminDir(terminal.env);
      const { limit = 1_000 } = flags as { limit?: number };
      const isWanted = ({ status }: RunningAdmin) =>
        status.Proxies.some(({ ID, Service }) => flags.proxyId === "" || [ID, Service].includes(flags.proxyId));
      for (;;) {
        const failures: string[] = [];
        const proxies = (await findRunning(dir, (text) => failures.push(text))).filter(isWanted);
        if (proxies.length === 0 && !flags.watch) throw new CommandError(nothing(dir, flags.proxyId, failures));
        const answers = await Promise.all(proxies.map(async (proxy) => ({ proxy, answer: await ask(proxy, limit) })));
        if (flags.format === "json") {
          const json = answers.map(({ proxy, answer }) => ({ Pid: proxy.pid, Answer: answer }));
          terminal.out(flags.watch ? `${JSON.stringify(json)}\n` : `${formatJson(json, "    ")}\n`);
        } else {
          const text = answers.map(({ proxy, answer }) => {
            const head = answers.length > 1 ? `==> pid ${proxy.pid}\n` : "";
            return `${head}${show(proxy, answer)}`;
          });
          terminal.out(`${flags.watch ? CLEAR : ""}${text.join("\n") || nothing(dir, flags.proxyId, failures)}\n`);
        }
        if (!flags.watch) return;
        await sleep(WATCH_MS, terminal.interrupted).catch(() => {});
        if (terminal.interrupted.aborted) return;
      }
    },
  });
}

function nothing(dir: string, wanted: string, failures: string[]): string {
  const which = wanted === "" ? "No proxy" : `No proxy '${wanted}'`;
  return [`${which} runs here with its admin socket in ${dir}.`, ...failures].join("\n");
}

export const status = proxyCommand({
  usage: "status",
  about:
    "Shows the proxies of this machine: whether they are ready, where they listen, until when their certificate is good.\n\n    $ heddle proxy status",
  ask: async ({ status: answer }) => answer,
  show(_proxy, { Pid, Mode, Ready, Problems, Agent, StartedAt, Threads, Proxies }) {
    const agent = Agent.IsUp ? "answers" : `away for ${Agent.AwaySeconds} s`;
    const facts = [
      ["Process:", `${Pid}, ${Mode}, since ${StartedAt}`],
      ["Ready:", Ready ? "yes" : `no: ${Problems}`],
      ["Agent:", `${Agent.Address} ${agent}`],
      ["Threads:", Threads.map((load) => `${Math.round(load * 100)} %`).join(", ")],
    ];
    const rows = Proxies.flatMap(({ Service, CertificateUntil, Listeners }) =>
      Listeners.map(({ Name, Address, Error, Open }) => [
        Service,
        Name,
        Address || Error,
        CertificateUntil,
        String(Open),
      ]),
    );
    return `${columns(facts)}\n${columns([["Service", "Listener", "Address", "Certificate until", "Open"], ...rows])}`;
  },
});

export const connections = proxyCommand({
  usage: "connections",
  about:
    "Lists open connections, the oldest first: who talks to whom, over which TLS, by which rule.\n\n    $ heddle proxy connections -watch",
  hasLimit: true,
  ask: (proxy, limit) => proxy.get<ConnectionView[]>(`/connections?limit=${limit}`),
  show: (_proxy, answer) =>
    columns([
      ["Source", "Destination", "Direction", "Peer", "Age", "In", "Out", "TLS", "Rule"],
      ...answer.map((c) => [
        c.Source,
        c.Destination,
        c.Direction,
        c.Peer,
        formatDuration(Math.round(c.AgeSeconds) * 1_000),
        String(c.BytesIn),
        String(c.BytesOut),
        c.TLS,
        c.Rule,
      ]),
    ]),
});

export const endpoints = proxyCommand({
  usage: "endpoints",
  about:
    "Lists the instances of upstreams: connections to each, failures, and which are left out for a while.\n\n    $ heddle proxy endpoints",
  ask: (proxy) => proxy.get<InstanceView[]>("/endpoints"),
  show: (_proxy, answer) =>
    columns([
      ["Listener", "Instance", "Node", "Address", "Weight", "Open", "Failures", "State"],
      ...answer.map((i) => [
        i.Listener,
        i.ID,
        i.Node,
        i.Address,
        String(i.Weight),
        String(i.Active),
        String(i.Failures),
        i.LeftOutMs > 0 ? `left out for ${formatDuration(i.LeftOutMs)}` : "in use",
      ]),
    ]),
});

export const config = proxyCommand({
  usage: "config",
  about:
    "Prints what a proxy decides on: its configuration, identity, roots, rules and endpoints. No key is in it.\n\n    $ heddle proxy config",
  ask: (proxy) => proxy.get<object[]>("/config"),
  show: (_proxy, answer) => formatJson(answer, "    "),
});
