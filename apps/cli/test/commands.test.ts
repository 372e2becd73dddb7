/** The table of commands, errors for people, and what has no counterpart in Consul's command. */
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { X509Certificate } from "node:crypto";
import { afterAll, describe, expect, it } from "vitest";
import { COMMANDS, type Entry, type Group } from "../src/commands.ts";
import { execute, heddle } from "./harness.ts";

const MAIN = join(import.meta.dirname, "../src/main.ts");
const dir = mkdtempSync(join(tmpdir(), "heddle-cli-"));
afterAll(() => rmSync(dir, { recursive: true }));

function paths(entry: Entry, path: string[] = []): string[][] {
  return "commands" in entry
    ? [path, ...Object.entries(entry.commands).flatMap(([name, sub]) => paths(sub, [...path, name]))]
    : [path];
}
const entryAt = (path: string[]): Entry =>
  path.reduce<Entry>((group, name) => (group as Group).commands[name] as Entry, COMMANDS);

describe("every command", () => {
  const own = paths(COMMANDS).filter((path) => !("program" in entryAt(path)));
  it.each(own.map((path) => [path.join(" ") || "(none)", path] as const))("%s has help", async (_name, path) => {
    const { status, out, err } = await heddle([...path, "--help"]);
    expect({ status, err }).toEqual({ status: 0, err: "" });
    expect(out).toMatch(/^Usage: heddle /);
    expect(out).toContain(path.join(" "));
    expect(Math.max(...out.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  });

  it("has JSON of its own where it prints data", async () => {
    // What these say is that it was done: with -format=json each line is a message (test/json.test.ts).
    const silent =
      /^(?:completion|debug|force-leave|import consul|join|keygen|leave|lock|monitor|operator migrate|reload|validate|tls .*|connect ca abort|connect ca csr|connect ca set-intermediate|connect expose|.* (?:delete|write|set-config|put|import|update|drain|register|deregister|destroy|renew|remove-peer|reinstate|restore|revoke|rollback|rotate|save)|intention create)$/;
    const without: string[] = [];
    for (const path of own) {
      const entry = entryAt(path);
      if ("load" in entry && !silent.test(path.join(" ")) && !("format" in ((await entry.load()).flags ?? {})))
        without.push(path.join(" "));
    }
    expect(without).toEqual([]);
  });

  it("stands in the order of the alphabet, with one line about it", () => {
    for (const path of own) {
      const entry = entryAt(path);
      if (!("commands" in entry)) continue;
      const names = Object.keys(entry.commands);
      expect(names).toEqual([...names].sort());
      for (const { synopsis } of Object.values(entry.commands)) expect(synopsis).toMatch(/^[A-Z][^\n]{5,70}[^.\n]$/);
    }
  });
});

describe("errors", () => {
  it.each<[string, string[], Record<string, string>, string]>([
    [
      "nobody listens",
      ["kv", "get", "x"],
      { HEDDLE_HTTP_ADDR: "127.0.0.1:1" },
      "Error querying the agent: cannot reach the agent at http://127.0.0.1:1: connection refused (is `heddle agent` running?)",
    ],
    [
      "another node is named to leave",
      ["leave", "web-1"],
      { HEDDLE_HTTP_ADDR: "127.0.0.1:1" },
      "Too many arguments (expected 0, got 1): it is the agent asked that leaves; force-leave takes a NAME.",
    ],
    [
      "a boolean is given as a word of its own",
      ["operator", "autopilot", "set-config", "-cleanup-dead-servers", "false"],
      { HEDDLE_HTTP_ADDR: "127.0.0.1:1" },
      "Too many arguments (expected 0, got 1)",
    ],
    [
      "a duration has no unit",
      ["lock", "-timeout=5", "a", "true"],
      {},
      'invalid value "5" for flag -timeout: want a duration such as 10s or 1m30s',
    ],
    [
      "HEDDLE_… is ahead of CONSUL_…",
      ["reload"],
      { HEDDLE_HTTP_ADDR: "127.0.0.1:1", CONSUL_HTTP_ADDR: "127.0.0.1:2" },
      "cannot reach the agent at http://127.0.0.1:1:",
    ],
    [
      "an address that is none",
      ["reload", "-http-addr=foo://x"],
      {},
      "-http-addr: invalid agent address 'foo://x': want host:port, http://host:port, https://host:port or unix:///path",
    ],
    [
      "a token file that is not there",
      ["reload", "-token-file=/nonexistent"],
      {},
      "-token-file: cannot read '/nonexistent'",
    ],
    [
      "half a client certificate",
      ["reload", "-client-cert=/nonexistent"],
      {},
      "-client-cert and -client-key: want both or none",
    ],
    ["a socket that is not there", ["reload", "-http-addr=unix:///nonexistent"], {}, "there is no such socket"],
  ])("%s", async (_name, args, env, message) => {
    const { status, out, err } = await heddle(args, { env });
    expect({ status, out }).toEqual({ status: 1, out: "" });
    expect(err).toContain(message);
  });

  it("places what is wrong in a file of services", async () => {
    const file = join(dir, "web.hcl");
    writeFileSync(file, 'service {\n  name = "web"\n  prot = 80\n  port = "x"\n}\n');
    const { status, err } = await heddle(["services", "register", file], { env: { HEDDLE_HTTP_ADDR: "127.0.0.1:1" } });
    expect(status).toBe(1);
    expect(err).toContain(`${file}:3:3: unknown key 'prot' in service: did you mean 'port'?`);
    expect(err).toContain(`${file}:4:3: `);
  });
});

describe("the process", () => {
  it("ends quietly where nobody reads on", async () => {
    const { out, err } = await execute("sh", ["-c", `'${process.execPath}' '${MAIN}' --help | head -1`]);
    expect({ out, err }).toEqual({ out: "Usage: heddle [--version] [--help] <command> [<args>]\n", err: "" });
  });

  it("gives its exit status", async () => {
    expect((await execute(process.execPath, [MAIN, "bogus"])).status).toBe(127);
    expect((await execute(process.execPath, [MAIN, "intention", "check"])).status).toBe(2);
    expect((await execute(process.execPath, [MAIN, "version"])).status).toBe(0);
  });
});

describe("completion", () => {
  const bin = join(dir, "bin");
  const env = { PATH: `${bin}:${process.env.PATH}`, HOME: dir, TERM: "dumb" };
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, "heddle"), `#!/bin/sh\nexec '${process.execPath}' '${MAIN}' "$@"\n`, { mode: 0o755 });
  const TYPED = "heddle oper\taut\tg\t--help";

  /** Types at a shell in a terminal of its own, which `script` makes, until it ends. */
  const type = (shell: string, lines: string[]): Promise<number | null> =>
    new Promise((resolve, reject) => {
      const child = spawn("script", ["-qec", shell, "/dev/null"], { env, stdio: ["pipe", "pipe", "inherit"] });
      const rest = [...lines];
      let said = "";
      child.on("error", reject);
      child.on("close", resolve);
      child.stdin.on("error", () => {});
      child.stdout.setEncoding("utf8").on("data", (text: string) => {
        said += text;
        // The next line when the one before has been carried out: each ends by saying so.
        if (!said.includes("DONE-")) return;
        said = "";
        child.stdin.write(rest.shift() ?? "exit\n");
      });
      child.stdin.write(rest.shift() ?? "");
    });

  const INIT = {
    bash: 'eval "$(heddle completion bash)"',
    zsh: 'autoload -U compinit && compinit -u -D; eval "$(heddle completion zsh)"',
  };
  it.each([
    ["bash", "bash --norc --noprofile -i"],
    ["zsh", "zsh -f -i"],
  ] as const)("%s completes what is typed", async (shell, start) => {
    if ([shell, "script"].some((tool) => spawnSync(tool, ["--version"]).error))
      return void process.stdout.write(`completion not tried: there is no ${shell}, or no script\n`);
    const file = join(dir, `completed-${shell}`);
    const done = `; echo DO''NE-\n`;
    const status = await type(start, [`${INIT[shell]}${done}`, `${TYPED} > '${file}'${done}`]);
    expect(status).toBe(0);
    expect(readFileSync(file, "utf8")).toMatch(/^Usage: heddle operator autopilot get-config/);
  });

  it("fish completes what is typed", async () => {
    const script = 'heddle completion fish | source; complete -C "heddle kv g"; complete -C "heddle watch -fire"';
    const result = await execute("fish", ["--no-config", "-c", script], { env }).catch(
      (error: NodeJS.ErrnoException) => error.code,
    );
    if (result === "ENOENT") return void process.stdout.write("completion not tried: there is no fish\n");
    expect(result).toMatchObject({ out: "get\n-fire-on\n" });
  });
});

describe("monitor", () => {
  it("prints the log as it comes, and ends with 0 when interrupted", async () => {
    await using agent = await fakeAgent((server) =>
      server.on("request", (req, res) => res.write(`${req.url}\nsecond line\n`)),
    );
    const controller = new AbortController();
    const onOut = (text: string) => text.includes("second line") && controller.abort();
    const result = await heddle(["monitor", "-log-level=debug"], {
      env: { HEDDLE_HTTP_ADDR: agent.url },
      interrupted: controller.signal,
      onOut,
    });
    expect(result).toEqual({ status: 0, out: "/v1/agent/monitor?loglevel=debug\nsecond line\n", err: "" });
  });

  it("says so when the agent goes away", async () => {
    await using agent = await fakeAgent((server) => server.on("request", (_req, res) => res.end("last line\n")));
    const { status, out, err } = await heddle(["monitor"], { env: { HEDDLE_HTTP_ADDR: agent.url } });
    expect({ status, out }).toEqual({ status: 1, out: "last line\n" });
    expect(err).toContain("Remote side ended the monitor!");
  });
});

describe("tls", () => {
  it("makes a CA and certificates of roles, with keys that only their owner reads", async () => {
    const place = `-dir=${join(dir, "tls")}`;
    const ca = await heddle(["tls", "ca", "create", place, "-days", "10", "-trust-domain=mine.heddle"]);
    expect(ca).toMatchObject({ status: 0, err: "" });
    const made = await heddle([
      "tls",
      "cert",
      "create",
      place,
      "-role=catalog,dns",
      "-client",
      "-node=n1",
      "-additional-ipaddress=10.0.0.7",
      "-additional-dnsname=c.example.com",
    ]);
    expect(made).toMatchObject({ status: 0, err: "" });
    for (const name of ["heddle-ca", "dc1-catalog-n1", "dc1-dns-n1", "dc1-agent-n1"]) {
      expect(statSync(join(dir, "tls", `${name}-key.pem`)).mode & 0o777).toBe(0o600);
      expect(statSync(join(dir, "tls", `${name}.pem`)).mode & 0o777).toBe(0o644);
    }
    const [root, catalog] = ["heddle-ca", "dc1-catalog-n1"].map(
      (name) => new X509Certificate(readFileSync(join(dir, "tls", `${name}.pem`))),
    ) as [X509Certificate, X509Certificate];
    expect(catalog.verify(root.publicKey)).toBe(true);
    for (const name of [
      "URI:spiffe://mine.heddle/heddle/dc/dc1/role/catalog",
      "DNS:c.example.com",
      "DNS:n1",
      "IP Address:10.0.0.7",
    ])
      expect(catalog.subjectAltName).toContain(name);
  });

  it("never replaces a key unless told to", async () => {
    const place = `-dir=${join(dir, "twice")}`;
    await heddle(["tls", "ca", "create", place]);
    const key = () => readFileSync(join(dir, "twice", "heddle-ca-key.pem"), "utf8");
    const first = key();
    expect(await heddle(["tls", "ca", "create", place])).toMatchObject({
      status: 1,
      err: expect.stringContaining("already exists. Use -force") as string,
    });
    expect(await heddle(["tls", "ca", "create", place, "-skip-existing"])).toMatchObject({ status: 0, err: "" });
    expect(key()).toBe(first);
    expect(await heddle(["tls", "ca", "create", place, "-force"])).toMatchObject({ status: 0 });
    expect(key()).not.toBe(first);
  });

  it.each([
    [["-role=bogus"], "unknown role 'bogus': known are agent, ca, catalog, dns, health, operator"],
    [["-server", "-dc=a/b"], "invalid datacenter 'a/b'"],
    [["-server", "-node=../x"], "invalid -node '../x'"],
    [["-server", "-additional-ipaddress=x"], "invalid IP address 'x'"],
    [["-server", "-days=0"], 'invalid value "0" for flag -days'],
    [["-server", "-ca=/nonexistent"], "Error reading CA: open /nonexistent: no such file or directory"],
  ])("refuses %s", async (args, message) => {
    await heddle(["tls", "ca", "create", `-dir=${join(dir, "refused")}`, "-skip-existing"]);
    const { status, err } = await heddle(["tls", "cert", "create", `-dir=${join(dir, "refused")}`, ...args]);
    expect(status).toBe(1);
    expect(err).toContain(message);
  });
});

describe("keygen", () => {
  it("makes a key and says that nothing needs it", async () => {
    const { status, out, err } = await heddle(["keygen"]);
    expect(status).toBe(0);
    expect(Buffer.from(out.trim(), "base64")).toHaveLength(32);
    expect(err).toContain("no gossip");
  });
});

async function fakeAgent(configure: (server: Server) => void): Promise<{ url: string } & AsyncDisposable> {
  const server = createServer();
  configure(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
