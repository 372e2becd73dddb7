/** Every command takes -format=json, and what it then prints is JSON: one document, or one a line. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { COMMANDS, type Entry } from "../src/commands.ts";
import { type Agent, heddle, startHeddle } from "./harness.ts";

const dir = mkdtempSync(join(tmpdir(), "heddle-json-"));
let agent: Agent;
beforeAll(async () => {
  agent = await startHeddle();
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true });
});
writeFileSync(join(dir, "entry.json"), '{"Kind": "service-defaults", "Name": "web", "Protocol": "http"}');
writeFileSync(join(dir, "service.hcl"), 'service { name = "cache" }');
writeFileSync(join(dir, "agent.hcl"), 'data_dir = "/var/lib/heddle"');

/** In this order: later lines use what earlier ones made. */
const LINES = `
kv put FLAG a/b c
kv get FLAG a/b
kv get FLAG -recurse a/
kv export FLAG a/
kv import FLAG []
kv delete FLAG a/b
services register FLAG -name=web -port=80
services register FLAG DIR/service.hcl
services drain FLAG cache
services deregister FLAG -id=web
catalog datacenters FLAG
catalog nodes FLAG -detailed
catalog services FLAG -tags
config write FLAG DIR/entry.json
config read FLAG -kind=service-defaults -name=web
config list FLAG -kind=service-defaults
config delete FLAG -kind=service-defaults -name=web
event FLAG -name=deploy
watch FLAG -type=services
session create FLAG
session list FLAG
query list FLAG
maint FLAG -enable -reason=x
maint FLAG
maint FLAG -disable
rtt FLAG cli1 cli1
validate FLAG DIR/agent.hcl
reload FLAG
members FLAG
info FLAG
lock FLAG locked true
operator raft list-peers FLAG
operator autopilot get-config FLAG
operator autopilot set-config FLAG -cleanup-dead-servers=false
intention create FLAG web db
intention list FLAG
intention delete FLAG web db
snapshot save FLAG DIR/state.snap
snapshot inspect FLAG DIR/state.snap
snapshot restore FLAG DIR/state.snap
connect ca get-config FLAG
tls ca create FLAG -dir=DIR
keygen FLAG
join FLAG 127.0.0.1
force-leave FLAG nobody
leave FLAG
`
  .trim()
  .split("\n");
/** Exit statuses of those that find nothing. */
const FAILS = new Map([["force-leave FLAG nobody", 1]]);

it("what is printed is JSON", async () => {
  const said: Record<string, unknown[]> = {};
  const unlike: string[] = [];
  for (const line of LINES) {
    const args = line.replace("FLAG", "-format=json").replaceAll("DIR", dir).split(" ");
    const { status, out, err } = await heddle(args, { env: { CONSUL_HTTP_ADDR: agent.url } });
    const values = parseAll(out);
    if (values) said[line] = values;
    if (!values || status !== (FAILS.get(line) ?? 0)) unlike.push(`${line}: ${status} ${out}${err}`);
  }
  expect(unlike).toEqual([]);
  expect(said["kv put FLAG a/b c"]).toEqual([{ Message: "Success! Data written to: a/b" }]);
  expect(said["kv get FLAG a/b"]).toEqual([[expect.objectContaining({ Key: "a/b" })]]);
  expect(said["reload FLAG"]).toEqual([{ Message: "Configuration reload triggered" }]);
  expect(said["leave FLAG"]).toEqual([{ Message: "Graceful leave complete" }]);
}, 60_000);

it("no command refuses the flag", async () => {
  const refused: string[] = [];
  const visit = async (entry: Entry, path: string[]): Promise<void> => {
    if ("commands" in entry)
      for (const [name, next] of Object.entries(entry.commands)) await visit(next, [...path, name]);
    else if (!("program" in entry)) {
      const { out } = await heddle([...path, "--help"]);
      if (!out.includes("  -format=<value>")) refused.push(path.join(" "));
    }
  };
  await visit(COMMANDS, []);
  expect(refused).toEqual([]);
});

/** A whole document, or one a line; undefined where it is neither. Commands that have nothing to say are silent. */
function parseAll(text: string): unknown[] | undefined {
  for (const parts of [[text], text.split("\n").filter(Boolean)])
    try {
      return parts.map((part) => JSON.parse(part) as unknown);
    } catch {
      // the other way, or none
    }
  return undefined;
}
