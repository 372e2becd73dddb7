import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { createApiClient } from "./client.ts";
import { followRead } from "./followed-read.ts";
import { watchForHangs } from "./hangs.ts";
import { serverList } from "./servers.ts";
import { silentLog } from "@heddle/daemon";

async function serve(handler: RequestListener): Promise<string> {
  const server = createServer(handler).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test("who waits at a server that hangs for what changes hears of it from another one", async () => {
  let version = 1;
  const hanging = new Set<string>();
  const waiting = new Set<() => void>();
  const like =
    (name: string): RequestListener =>
    (req, res) => {
      const answer = () => {
        if (hanging.has(name)) return;
        res.setHeader("X-Consul-Index", version).setHeader("Content-Type", "application/json").end(String(version));
      };
      if (req.url?.includes(`index=${version}`)) waiting.add(answer);
      else answer();
    };
  const urls = { a: await serve(like("a")), b: await serve(like("b")) };
  const address = `${urls.a},${urls.b}`;
  const client = createApiClient({ address });
  onTestFinished(() => client.close());
  using followed = followRead<number>(client, "/v1/what", { what: "what", log: silentLog });
  using _ = watchForHangs(client, address);
  await expect.poll(() => followed.body).toBe(1);
  await expect.poll(() => waiting.size).toBe(1);
  hanging.add(serverList(address).current === urls.a ? "a" : "b");
  version = 2;
  for (const answer of waiting) answer();
  await expect.poll(() => followed.body).toBe(2);
});
