/** A service and its caller that listen on no port: `socket_path`, `local_bind_socket_path`, from a file and from a registration. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makePlace, startAgent } from "../support/mesh.ts";
import { run, start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

interface Proxied {
  Proxy: {
    LocalServiceSocketPath?: string;
    Upstreams?: { LocalBindSocketPath?: string; LocalBindSocketMode?: string }[];
  };
}

test("an upstream's socket leads to a service's socket, and the API shows both", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const place = await makePlace();
  const [own, upstream] = [join(place.dir, "db.sock"), join(place.dir, "to-db.sock")];
  start("socat", [`unix-listen:${own},fork`, "exec:/bin/cat"]);
  place.write("db.hcl", `service {\n name = "db"\n socket_path = "${own}"\n connect { sidecar_service {} }\n}\n`);
  const { api, ports, start: heddle } = await startAgent(place);
  const body = {
    Name: "app",
    Port: ports.other,
    Connect: {
      SidecarService: {
        Proxy: {
          Upstreams: [{ DestinationName: "db", LocalBindSocketPath: upstream, LocalBindSocketMode: "0640" }],
        },
      },
    },
  };
  const answer = await fetch(`http://127.0.0.1:${ports.http}/v1/agent/service/register`, {
    method: "PUT",
    body: JSON.stringify(body),
  });
  expect(answer.status).toBe(200);

  const [db, app] = ["db", "app"].map((name) => heddle("connect", "proxy", "-sidecar-for", name));
  await db?.printed("Starting listener");
  await app?.printed(`Starting listener: listener=${upstream}->service:default/db bind_addr=${upstream}`);
  // The sidecar is found to listen though its service has no address.
  await expect.poll(() => api<unknown[]>("/v1/health/connect/db?passing")).toHaveLength(1);
  const heard = async () => (await run("nc", ["-N", "-U", upstream], { stdin: "no port between us" })).out;
  await expect.poll(heard).toBe("no port between us");

  const shown = { LocalBindSocketPath: upstream, LocalBindSocketMode: "0640" };
  expect((await api<Proxied>("/v1/agent/service/app-sidecar-proxy")).Proxy.Upstreams).toMatchObject([shown]);
  expect((await api<Proxied>("/v1/agent/service/db-sidecar-proxy")).Proxy.LocalServiceSocketPath).toBe(own);
  const [inCatalog] = await api<{ ServiceProxy: Proxied["Proxy"] }[]>("/v1/catalog/service/app-sidecar-proxy");
  expect(inCatalog?.ServiceProxy.Upstreams).toMatchObject([shown]);
  const [instance] = await api<{ Service: Proxied }[]>("/v1/health/service/db-sidecar-proxy");
  expect(instance?.Service.Proxy.LocalServiceSocketPath).toBe(own);

  expect(await app?.stop()).toBe(0);
  expect(existsSync(upstream)).toBe(false);
});
