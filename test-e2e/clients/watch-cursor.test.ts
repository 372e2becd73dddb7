/** A watch with a cursor: what its handler did not take is told again, under the same id, also by an agent that was killed meanwhile. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { makePlace, startAgent } from "../support/mesh.ts";
import { needs } from "../support/tools.ts";

interface Told {
  id: string;
  body: { ID: string; Before: unknown; After: { Value: string } | null; Changed: string[] };
}

/** An endpoint that takes what it is told, or fails. */
async function startEndpoint() {
  const told: Told[] = [];
  const endpoint = { url: "", told, status: 200 };
  const server = createServer((req, res) => {
    let text = "";
    req.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    req.on("end", () => {
      told.push({ id: String(req.headers["x-heddle-change-id"]), body: JSON.parse(text) as Told["body"] });
      res.writeHead(endpoint.status).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  endpoint.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return endpoint;
}

test("is at least once, over failures, kills and restarts", async (ctx) => {
  needs(ctx, "curl");
  const place = await makePlace();
  const endpoint = await startEndpoint();
  const { told } = endpoint;
  place.write(
    "watches.hcl",
    `watches = [{
  type = "key", key = "mode", cursor = "mode", deliver = "change"
  handler_type = "http", http_handler_config { path = "${endpoint.url}" }
}]`,
  );
  const flags = ["-server", "-bootstrap-expect=1", `-data-dir=${join(place.dir, "data")}`, "-bind=127.0.0.1"];
  const ready = "Heddle agent running!";
  let { agent } = await startAgent(place, flags, ready);
  await expect.poll(() => told.length).toBe(1);
  expect(told[0]?.body).toMatchObject({ Before: null, After: null });
  await place.ok("kv", "put", "mode", "one");
  await expect.poll(() => told.length).toBe(2);

  endpoint.status = 500;
  await place.ok("kv", "put", "mode", "two");
  await expect.poll(() => told.length).toBeGreaterThan(3);
  await agent.stop("SIGKILL");
  const failed = told.slice(2);
  endpoint.status = 200;
  ({ agent } = await startAgent(place, flags, ready));
  await expect.poll(() => told.length).toBeGreaterThan(2 + failed.length);
  const taken = told.at(-1) as Told;
  expect(taken.body).toMatchObject({ Before: { Value: "b25l" }, After: { Value: "dHdv" } });
  expect(taken.body.Changed).toContain("Value");
  expect(new Set([...failed, taken].map(({ id }) => id))).toEqual(new Set([taken.body.ID]));

  // What was taken is not told again: after another start the next change is the next that is told.
  const before = told.length;
  await agent.stop("SIGTERM"); // in order: an agent that is killed may have told what it could not note any more
  await startAgent(place, flags, ready);
  await place.ok("kv", "put", "mode", "three");
  await expect.poll(() => told.length).toBeGreaterThan(before);
  expect(told.slice(before).map(({ body }) => body.After?.Value)).toEqual(["dGhyZWU="]);
});
