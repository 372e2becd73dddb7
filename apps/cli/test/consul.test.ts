/**
 * `heddle` gives the exit statuses of Consul's own command and says the same: against a Consul agent, and against Heddle's
 * agent, each time beside a Consul agent with its own command.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Agent,
  CONSUL,
  execute,
  heddle,
  type Result,
  type RunOptions,
  startConsul,
  startHeddle,
} from "./harness.ts";
import { apiFlags } from "../src/command.ts";
import { COMMANDS, type Entry, type Leaf } from "../src/commands.ts";
import { toFlagName } from "../src/flags.ts";
import { VERSION } from "../src/version.ts";
import {
  AGENT_ROWS,
  CATALOG_ROWS,
  CONSUL_ONLY_ROWS,
  EXPOSE_ROWS,
  KEYRING_ROWS,
  MORE_ROWS,
  CONFIG_ROWS,
  DEBUG_ROWS,
  INTENTION_ROWS,
  KV_ROWS,
  OPERATOR_ROWS,
  OFFLINE_ROWS,
  type Row,
  WATCH_ROWS,
} from "./rows.ts";

const CONSUL_VERSION = "1.8.7";
const dir = mkdtempSync(join(tmpdir(), "heddle-cli-"));
const FILES: Record<string, string> = {
  "service.json": '{"service":{"name":"fj","port":1,"tags":["t"]}}',
  "sidecar.json":
    '{"service":{"name":"chk","port":1,"check":{"http":"http://127.0.0.1:1/","interval":"10s","timeout":"1s"},"connect":{"sidecar_service":{"check":{"tcp":"127.0.0.1:1","interval":"15s"}}}}}',
  "list.json": '{"services":[{"name":"s1","port":1},{"id":"s2-x","name":"s2","port":2,"checks":[{"ttl":"10s"}]}]}',
  "empty.json": "{}",
  "unknown.json": '{"service":{"name":"x","bogus":1}}',
  "no-service.json": '{"name":"plain"}',
  "plain.txt": "x",
  "good/a.json": '{"data_dir":"/tmp/x","service":{"name":"v","port":1}}',
  "bad/a.json": '{"bogus":1}',
};

beforeAll(() => {
  for (const [name, text] of Object.entries(FILES)) {
    mkdirSync(join(dir, name, ".."), { recursive: true });
    writeFileSync(join(dir, name), text);
  }
});
afterAll(() => rmSync(dir, { recursive: true }));

type Run = (args: string[], options: RunOptions) => Promise<Result>;
const consul: Run = (args, options) => execute(CONSUL, args, { ...options, cwd: dir });
const PAIRS: [string, Run, () => Promise<Agent | undefined>][] = [
  ["heddle against a Consul agent", heddle, startConsul],
  ["heddle against a Heddle agent", heddle, startHeddle],
  ["Consul's own command against a Heddle agent", consul, startHeddle],
];

describe.each(PAIRS)("%s, beside Consul's own command against a Consul agent", (_pair, command, start) => {
  let theirs: Agent | undefined;
  let ours: Agent | undefined;
  beforeAll(async () => {
    theirs = await startConsul();
    ours = theirs && (await start());
  });
  afterAll(async () => {
    await Promise.all([theirs?.[Symbol.asyncDispose](), ours?.[Symbol.asyncDispose]()]);
  });

  it.each([
    ["kv", KV_ROWS],
    ["catalog", CATALOG_ROWS],
    ["intention", INTENTION_ROWS],
    ["agent", AGENT_ROWS],
    ["watch and lock", WATCH_ROWS],
    ["config", CONFIG_ROWS],
    ["operator and rtt", OPERATOR_ROWS],
    ["other commands of Consul", CONSUL_ONLY_ROWS],
    ["keyring", KEYRING_ROWS],
    ["connect expose", EXPOSE_ROWS],
    ["flags of the API and more", MORE_ROWS],
    ["debug", DEBUG_ROWS],
    ["help and errors", OFFLINE_ROWS],
  ])("%s", { timeout: 120_000 }, async (_name, rows) => {
    if (!theirs || !ours) return;
    const differences: unknown[] = [];
    const [theirSessions, ourSessions] = await Promise.all([sessions(theirs), sessions(ours)]);
    for (const row of rows) {
      if (row.consulOnly && command === heddle) continue;
      const stdin = row.stdin === undefined ? {} : { stdin: row.stdin };
      const [expected, actual] = await Promise.all([
        consul(fill(row, theirSessions), { env: { CONSUL_HTTP_ADDR: theirs.url }, ...stdin }),
        command(fill(row, ourSessions), { env: { CONSUL_HTTP_ADDR: ours.url }, ...stdin }),
      ]);
      const [want, got] = [normalise(expected, row, theirs, theirSessions), normalise(actual, row, ours, ourSessions)];
      if (JSON.stringify(want) !== JSON.stringify(got))
        differences.push({ args: row.args.join(" "), consul: want, heddle: got });
    }
    expect(differences).toEqual([]);
  });
});

describe("the flags of Consul's command", () => {
  // Ours are certificates of other things than Consul's, by other rules.
  const UNLIKE = ["tls ca create", "tls cert create"];
  // Its help shows a value for these, but they are booleans: `-flag` alone is true.
  const BOOLEAN = [
    "operator autopilot set-config -cleanup-dead-servers",
    "operator autopilot set-config -disable-upgrade-migration",
  ];
  const leaves = (entry: Entry, path: string[]): [string, Leaf][] =>
    "commands" in entry
      ? Object.entries(entry.commands).flatMap(([name, sub]) => leaves(sub, [...path, name]))
      : "load" in entry
        ? [[path.join(" "), entry]]
        : [];

  it("are all known, and none has another kind", async (ctx) => {
    if (!existsSync(CONSUL)) return ctx.skip(`there is no ${CONSUL}`);
    const unlike: string[] = [];
    let compared = 0;
    for (const [name, leaf] of leaves(COMMANDS, [])) {
      const { out, err } = await execute(CONSUL, [...name.split(" "), "-h"]);
      const help = out + err;
      if (UNLIKE.includes(name) || !help.includes(`Usage: consul ${name}`)) continue;
      compared++;
      const spec = await leaf.load();
      const table = { ...apiFlags(spec), ...spec.flags };
      const ours = new Map(Object.entries(table).map(([key, flag]) => [toFlagName(key), flag.isBoolean === true]));
      for (const [, flag = "", value] of help.matchAll(/^ {2}-([\w-]+)(=)?/gm))
        if (ours.get(flag) !== (value === undefined || BOOLEAN.includes(`${name} -${flag}`)))
          unlike.push(`${name} -${flag}`);
    }
    expect(unlike).toEqual([]);
    expect(compared).toBeGreaterThan(40);
  });
});

async function sessions({ url }: Agent): Promise<string[]> {
  const create = async () =>
    ((await (await fetch(`${url}/v1/session/create`, { method: "PUT", body: "{}" })).json()) as { ID: string }).ID;
  return [await create(), await create()];
}

function fill({ args }: Row, ids: string[]): string[] {
  return args.map((arg) =>
    arg.replace("{dir}", dir).replace(/\{session(\d)\}/, (_, n: string) => ids[Number(n) - 1] as string),
  );
}

/** Ids, indexes, ports and times differ between two agents; help is in our own words. */
function normalise({ status, out, err }: Result, { ownWords, isJson, args }: Row, agent: Agent, ids: string[]): Result {
  const isHelp = args.length === 0 || args.some((arg) => /^-{0,2}(?:h|help|v|version)$/.test(arg));
  const clean = (text: string) => {
    let result = text;
    ids.forEach((id, i) => (result = result.replaceAll(id, `{session${i + 1}}`)));
    for (const [name, port] of Object.entries(agent.ports)) result = result.replaceAll(String(port), `{${name}}`);
    return result
      .replace(/\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/g, "{uuid}")
      .replaceAll(VERSION, "{version}")
      .replaceAll(CONSUL_VERSION, "{version}")
      .replace(/^((?:Create|Modify)Index +)\d+$/gm, "$1{index}")
      .replace(/^(Created At: +).*$/gm, "$1{time}")
      .replace(/\s+\)?$/gm, (end) => end.trim())
      .trim();
  };
  const said = (text: string) => (text.trim() === "" ? "" : "said");
  return {
    status,
    out: isHelp ? said(out) : clean(isJson && out !== "" ? sorted(out) : out),
    err: ownWords || isHelp ? said(err) : clean(err),
  };
}

/** JSON with its keys in order, without indexes and empty values: what the CLI prints is the agent's own answer. */
function sorted(text: string): string {
  const plain = text.replace(/\b\d{17,}\b/g, '"$&"');
  const order = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(order);
    if (typeof value !== "object" || value === null) return value;
    const entries = Object.entries(value).filter(([key, item]) => !key.endsWith("Index") && item !== "");
    return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, item]) => [key, order(item)]));
  };
  return JSON.stringify(order(JSON.parse(plain)), undefined, 1);
}
