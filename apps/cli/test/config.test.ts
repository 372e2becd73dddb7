/** `heddle config` where Consul 1.8.7 has no counterpart. */
import { expect, it } from "vitest";
import { heddle, startHeddle } from "./harness.ts";

it("deletes an entry at its index alone, where -cas asks for it", async () => {
  await using agent = await startHeddle();
  const run = (...argv: string[]) => heddle(["config", ...argv], { env: { HEDDLE_HTTP_ADDR: agent.url } });
  const entry = ["-kind=service-defaults", "-name=web"];
  const body = '{"Kind":"service-defaults","Name":"web","Protocol":"http"}';
  await fetch(`${agent.url}/v1/config`, { method: "PUT", body });
  const { ModifyIndex } = JSON.parse((await run("read", ...entry)).out) as { ModifyIndex: number };

  const refused = { status: 1, out: "", err: "Config entry not deleted: service-defaults/web\n" };
  expect(await run("delete", ...entry, "-cas", `-modify-index=${ModifyIndex + 1}`)).toMatchObject(refused);
  expect(await run("delete", ...entry, "-cas")).toMatchObject(refused);
  expect(await run("delete", ...entry, `-modify-index=${ModifyIndex}`)).toMatchObject({
    status: 1,
    err: "Cannot specify -modify-index without -cas\n",
  });
  expect((await run("read", ...entry)).status).toBe(0);

  expect(await run("delete", ...entry, "-cas", `-modify-index=${ModifyIndex}`)).toMatchObject({
    status: 0,
    out: "Config entry deleted: service-defaults/web\n",
  });
  expect((await run("read", ...entry)).status).toBe(1);
});
