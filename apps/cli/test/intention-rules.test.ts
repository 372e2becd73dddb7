/** `intention explain` and `intention test`, over a real agent and over files. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { heddle, startHeddle } from "./harness.ts";

const folder = mkdtempSync(join(tmpdir(), "intentions-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

it("explains a decision of the agent's rules, and tests them", async () => {
  await using agent = await startHeddle();
  const run = (...args: string[]) => heddle(["intention", ...args], { env: { CONSUL_HTTP_ADDR: agent.url } });
  expect(await run("explain", "web", "db")).toMatchObject({
    status: 0,
    out: expect.stringMatching(
      /^Decision +web -> db: allowed\nReason +ACLs disabled.*\nDefault +allowed \(ACLs/,
    ) as string,
  });
  await run("create", "-deny", "*", "db");
  await run("create", "web", "db");
  await run("create", "-deny", "Web", "db");
  const told = await run("explain", "web", "db");
  expect(told.out).toMatch(/web -> db +allow +9 +decides: the most exact/);
  expect(told.out).toMatch(/\* -> db +deny +8 +shadowed: less exact/);
  expect(told.out).toMatch(/Web -> db +deny +9 +passed over: .* to the letter/);
  const json = JSON.parse((await run("explain", "-format=json", "web", "db")).out) as { Trace: { Outcome: string }[] };
  expect(json.Trace.map((step) => step.Outcome)).toEqual(["decides", "shadowed", "passed over"]);

  const good = await run("test", file("agent.txt", "web -> db: allow\napi -> db: deny\n"));
  expect(good).toMatchObject({ status: 0, out: "2 passed, 0 failed\n" });
  expect(good.err).toMatch(
    /^The rule Web -> db \(ID: .*\) never changes an outcome: \* -> db \(deny\) would decide the same\.\n$/,
  );
  expect((await run("test", "-strict", join(folder, "agent.txt"))).status).toBe(1);

  const ask = (query: string) => fetch(`${agent.url}/v1/connect/intentions/explain?${query}`);
  expect((await ask("source=web")).status).toBe(400);
  expect(await (await ask("source=team/web&destination=db")).text()).toContain("namespace 'team'");
  expect((await ask(`source=${"x".repeat(1_025)}&destination=db`)).status).toBe(400);

  // A change wakes who waits for it.
  const index = (await ask("source=web&destination=db")).headers.get("x-consul-index") ?? "";
  const waiting = ask(`source=web&destination=db&index=${index}&wait=60s`);
  await run("delete", "web", "db");
  expect(await (await waiting).json()).toMatchObject({ Allowed: false, Rule: { Source: "*", Precedence: 8 } });
}, 60_000);

it("says whose token a rule demands, wherever it is shown", async () => {
  await using agent = await startHeddle();
  const run = (...args: string[]) => heddle(args, { env: { CONSUL_HTTP_ADDR: agent.url } });
  const jwks = 'kind = "jwt-provider"\nname = "okta"\njson_web_key_set { local { jwks = "e30=" } }\n';
  const entry =
    'kind = "service-intentions"\nname = "db"\njwt { providers = [{ name = "okta" }] }\nsources = [{ name = "web", action = "allow" }, { name = "*", action = "deny" }]\n';
  for (const [name, text] of Object.entries({ "okta.hcl": jwks, "token.hcl": entry }))
    expect(await run("config", "write", file(name, text))).toMatchObject({ status: 0 });
  expect((await run("intention", "list")).out).toMatch(/ web +allow with a token of okta +db /);
  expect((await run("intention", "get", "web", "db")).out).toMatch(/^Action: +allow with a token of okta$/m);
  expect((await run("intention", "match", "db")).out).toBe("web => db (allow with a token of okta)\n* => db (deny)\n");
  expect((await run("intention", "explain", "web", "db")).out).toMatch(
    /decides: the most exact rule that matches; it demands a token of okta, and connections carry none, so it denies/,
  );
  expect(await run("intention", "check", "web", "db")).toMatchObject({ status: 1, out: "Denied\n" });
  const expected = file("token.txt", "web -> db: deny\n");
  expect(await run("intention", "test", "-rules", join(folder, "token.hcl"), expected)).toMatchObject({ status: 0 });
}, 60_000);

it("tests rules of files without an agent", async () => {
  const hcl = file(
    "db.hcl",
    'Kind = "service-intentions"\nName = "db"\nSources = [{ Name = "web", Action = "allow" }, { Name = "old", Permissions = [{ Action = "allow", HTTP { PathPrefix = "/" } }] }]\n',
  );
  const json = file("more.json", '[{ "SourceName": "*", "DestinationName": "*", "Action": "deny", "ID": "all" }]');
  const run = (...args: string[]) =>
    heddle(["intention", "test", ...args], { env: { CONSUL_HTTP_ADDR: "http://127.0.0.1:1" } });
  const wanted = file(
    "wanted.txt",
    "web -> db: allow\nold -> db: deny # sees no requests\n* -> db: deny\n\nweb -> api: allow\n",
  );
  const result = await run("-rules", hcl, "-rules", json, wanted);
  expect(result.status).toBe(1);
  expect(result.out).toMatch(
    /wanted\.txt:5: web -> api: want allow, is deny: Matched intention: DENY .*ID: all.*\n3 passed, 1 failed\n$/,
  );
  expect(result.err).toBe("");
  const asJson = await run("-format=json", "-rules", hcl, "-rules", json, wanted);
  expect(JSON.parse(asJson.out)).toMatchObject({ Passed: 3, Failed: [{ Line: 5, Is: "deny" }], IdleRules: [] });

  const byDefault = await run("-rules", hcl, "-default=deny", file("none.txt", "a -> b: allow"));
  expect(byDefault).toMatchObject({ status: 1, out: expect.stringContaining("the default is deny") as string });

  for (const [name, text, problem] of [
    ["bad.hcl", 'Kind = "service-intentions"\nName = "db"', /bad\.hcl: At least one source is required/],
    ["bad.json", '[{ "SourceName": "a", "DestinationName": "b", "Action": "maybe" }]', /bad\.json: .*Action/],
    ["list.json", "[1]", /want a service-intentions entry/],
    ["broken.json", "[{", /broken\.json/],
  ] as const) {
    const refused = await run("-rules", file(name, text), wanted);
    expect(refused).toMatchObject({ status: 2, err: expect.stringMatching(problem) as string });
  }
  expect(await run("-default=deny", wanted)).toMatchObject({ status: 2 });
  expect(await run("-rules", hcl, join(folder, "missing"))).toMatchObject({ status: 2 });
  expect(await run("-rules", hcl, file("empty.txt", "# nothing\n"))).toMatchObject({ status: 2 });
  expect(await run(wanted)).toMatchObject({ status: 2 }); // nobody is there to ask
});
