/** Scripts of checks as another user: the agent's choice, a check's own, who may not choose, and who may not change to it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { needs } from "../support/tools.ts";
import { daemon, freePort, get, HEDDLE, NODE, put, run, tempDir, until } from "./daemon.ts";

const isRoot = process.getuid?.() === 0;

test.runIf(isRoot)(
  "an agent runs scripts as it says, or as their file says, and never as the API would have it",
  async () => {
    const dir = tempDir();
    const check = (name: string, more = {}) => ({ name, args: ["id", "-un"], interval: "1s", ...more });
    writeFileSync(
      join(dir, "checks.json"),
      JSON.stringify({ checks: [check("theirs"), check("own", { script_user: "daemon" })] }),
    );
    writeFileSync(join(dir, "agent.hcl"), 'heddle { script_user = "nobody" }');
    const [http, dns, server] = await Promise.all([freePort(), freePort(), freePort()]);
    const { url } = await daemon(
      [
        ...["agent", "-dev", "-enable-script-checks", `-config-dir=${dir}`],
        ...[`-http-port=${http}`, `-dns-port=${dns}`, `-server-port=${server}`],
      ],
      http,
    );
    const register = (more: object) =>
      put(`${url}/v1/agent/check/register`, { Name: "sent", Args: ["id", "-un"], Interval: "1s", ...more });
    expect(await register({ ScriptUser: "root" })).toMatchObject({
      status: 403,
      text: "ScriptUser is taken from configuration files alone",
    });
    expect((await register({})).status).toBe(200);
    const outputs = await until(
      async () => {
        const checks = (await get(`${url}/v1/agent/checks`)).json<Record<string, { Output: string; Status: string }>>();
        return Object.fromEntries(
          Object.entries(checks).map(([id, { Output, Status }]) => [id, `${Status} ${Output}`]),
        );
      },
      (seen) => Object.values(seen).every((text) => text.startsWith("passing")),
    );
    expect(outputs).toEqual({ theirs: "passing nobody\n", own: "passing daemon\n", sent: "passing nobody\n" });
  },
);

test("who may not change to another user does not start", async (ctx) => {
  if (isRoot) needs(ctx, "setpriv");
  const [http, dns, server] = await Promise.all([freePort(), freePort(), freePort()]);
  const commands = [
    ["serve", "health", `-port=${http}`],
    ["agent", "-dev", `-http-port=${http}`, `-dns-port=${dns}`, `-server-port=${server}`],
  ];
  for (const command of commands) {
    const argv = [HEDDLE, ...command, "-script-user=daemon"];
    // With a capability less, root is one who may not.
    const refused = isRoot ? run("setpriv", ["--bounding-set=-setuid", NODE, ...argv]) : run(NODE, argv);
    expect(await refused.exited, refused.output()).toEqual([1, null]);
    expect(refused.output()).toContain(
      `script_user 'daemon': scripts cannot be run as another user: ${
        isRoot ? "this process lacks CAP_SETUID" : "only root may, and this process runs as user"
      }`,
    );
  }
});
