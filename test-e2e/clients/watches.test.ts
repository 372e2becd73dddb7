/** The `watches` of the agent's configuration: programs and HTTP endpoints are told what changed, and nothing else. */
import { existsSync, readFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { makePlace, startAgent } from "../support/mesh.ts";
import { needs } from "../support/tools.ts";

interface Told {
  method: string | undefined;
  url: string | undefined;
  headers: IncomingHttpHeaders;
  body: unknown;
}

async function startEndpoint(): Promise<{ url: string; told: Told[] }> {
  const told: Told[] = [];
  const server = createServer((req, res) => {
    let body = "";
    req.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    req.on("end", () => {
      told.push({ method: req.method, url: req.url, headers: req.headers, body: JSON.parse(body) });
      res.end("thanks");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, told };
}

test("programs and endpoints are told what changed, until a reload takes their watch away", async (ctx) => {
  needs(ctx, "curl");
  const place = await makePlace();
  const { url, told } = await startEndpoint();
  const file = (name: string) => join(place.dir, name);
  const read = (name: string) => (existsSync(file(name)) ? readFileSync(file(name), "utf8") : "");
  place.write(
    "watches.hcl",
    `
watches = [
  { type = "key", key = "conf/mode", args = ["sh", "-c", "{ cat; echo index=$CONSUL_INDEX,$HEDDLE_INDEX; } >> ${file("key")}"] },
  { type = "keyprefix", prefix = "conf/", handler = "cat >> ${file("prefix")}" },
  {
    type = "service"
    service = "socat"
    handler_type = "http"
    http_handler_config { path = "${url}/service", method = "PUT", header = { "X-Foo" = ["bar"] }, timeout = "5s" }
  },
  { type = "event", name = "deploy", handler_type = "http", http_handler_config { path = "${url}/event" } },
  { type = "key", key = "conf/mode", fire_on = "change", args = ["sh", "-c", "cat >> ${file("changes")}"] },
  { type = "nodes", args = ["sh", "-c", "echo it is broken; exit 3"] },
]`,
  );
  const { agent } = await startAgent(place);
  const on = (path: string) => told.filter((t) => t.url === path);

  // What there is at the start.
  await expect.poll(() => read("key")).toMatch(/^null\nindex=([1-9]\d*),\1\n$/);
  await expect
    .poll(() => on("/service").at(-1))
    .toMatchObject({
      method: "PUT",
      headers: { "x-foo": "bar", "content-type": "application/json" },
      body: [{ Service: { Service: "socat" } }],
    });
  expect(Number(on("/service")[0]?.headers["x-consul-index"])).toBeGreaterThan(0);
  await expect.poll(() => on("/event").map(({ body }) => body)).toEqual([[]]);
  await agent.printed(/Failed to run watch handler: .*exit status 3: it is broken/);

  // A change is told, a write of the same value or elsewhere is not.
  await place.ok("kv", "put", "elsewhere", "1");
  await place.ok("kv", "put", "conf/mode", "one");
  await expect.poll(() => read("key")).toContain('"Value":"b25l"');
  await place.ok("kv", "put", "conf/mode", "one");
  await place.ok("kv", "put", "conf/mode", "two");
  await expect.poll(() => read("key")).toContain('"Value":"dHdv"');
  await expect.poll(() => read("key").match(/^index=/gm)).toHaveLength(3);
  // Who asked for changes alone was told of nothing at the start.
  await expect.poll(() => read("changes").match(/"Value":"[^"]*"/g)).toEqual(['"Value":"b25l"', '"Value":"dHdv"']);
  expect(read("changes")).not.toContain("null");
  await expect.poll(() => read("prefix")).toContain('"Value":"dHdv"');

  // Of events only the new ones.
  for (const payload of ["1", "2"]) {
    await place.ok("event", "-name=other", "no");
    await place.ok("event", "-name=deploy", payload);
    await expect.poll(() => JSON.stringify(on("/event").at(-1)?.body)).toContain(btoa(payload));
  }
  expect(on("/event").map(({ body }) => (body as unknown[]).length)).toEqual([0, 1, 1]);

  // What the files no longer say is told no more.
  place.write(
    "watches.hcl",
    `watches = [{ type = "key", key = "conf/new", args = ["sh", "-c", "cat >> ${file("new")}"] }]`,
  );
  await place.ok("reload");
  await expect.poll(() => read("new")).toBe("null\n");
  const before = read("key");
  await place.ok("kv", "put", "conf/mode", "three");
  await place.ok("kv", "put", "conf/new", "x");
  await expect.poll(() => read("new")).toContain('"Value":"eA=="');
  expect(read("key")).toBe(before);
});

test("a watch that cannot be is refused at start, and named", async () => {
  const place = await makePlace();
  place.write("watches.json", { watches: [{ type: "key", args: ["cat"] }, { type: "nodes" }] });
  const { status, err } = await place.heddle("validate", "mesh.d");
  expect(status).toBe(1);
  expect(err).toContain("watches[0]: Must specify a single key to watch");
  expect(err).toContain("watches[1]: Must define a watch handler");
});
