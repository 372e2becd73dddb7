/** `agent -dev` with a data directory: the agent's own things outlive it, as in Consul; catalog and keys are in memory. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { startHeddle } from "./harness.ts";

it("keeps what was registered with the agent, and no key", async () => {
  const dir = mkdtempSync(join(tmpdir(), "heddle-dev-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }));
  const start = () => startHeddle(`-data-dir=${dir}`);
  {
    await using first = await start();
    const put = (path: string, body: unknown) =>
      fetch(`${first.url}${path}`, { method: "PUT", body: JSON.stringify(body) }).then(({ status }) => status);
    expect(await put("/v1/agent/service/register", { Name: "kept", Port: 1 })).toBe(200);
    expect(await put("/v1/kv/lost", "x")).toBe(200);
  }
  await using second = await start();
  expect(await (await fetch(`${second.url}/v1/agent/services`)).json()).toHaveProperty("kept");
  expect((await fetch(`${second.url}/v1/kv/lost`)).status).toBe(404);
});
