/** Step 5 of the walk: `heddle connect proxy -service web -upstream socat:9191`. */
import { expect, test } from "vitest";
import { comesTo, makePlace, startAgent, startSocat } from "../support/mesh.ts";
import { needs } from "../support/tools.ts";

test("it prints its configuration, listens for the upstream, and has no public listener", async (ctx) => {
  needs(ctx, "curl");
  const place = await startAgent(await makePlace());
  const { api, ports } = place;
  const web = place.start("connect", "proxy", "-service", "web", "-upstream", `socat:${ports.upstream}`);
  await web.printed(/Starting listener.*\n/);
  const { TrustDomain } = await api<{ TrustDomain: string }>("/v1/connect/ca/roots");
  const [banner, log] = web.out.split("\n\n==> Log data will now stream in as it occurs:\n\n") as [string, string];
  expect(banner.split("\n")).toEqual([
    "==> Heddle Connect proxy starting...",
    "    Configuration mode: Flags",
    "               Service: web",
    `              Upstream: socat => :${ports.upstream}`,
    "       Public listener: Disabled",
  ]);
  for (const told of [
    "[INFO]  proxy: Proxy loaded config and ready to serve\n",
    `[INFO]  proxy: Parsed TLS identity: uri=spiffe://${TrustDomain}/ns/default/dc/dc1/svc/web roots=[pri-`,
    `[INFO]  proxy: Starting listener: listener=127.0.0.1:${ports.upstream}->service:default/socat bind_addr=127.0.0.1:${ports.upstream}\n`,
  ])
    expect(log).toContain(told);
  expect(log.match(/Starting listener/g)).toHaveLength(1);
  // It registers nothing, as in Consul.
  expect(Object.keys(await api<object>("/v1/catalog/services")).toSorted()).toEqual([
    "consul",
    "socat",
    "socat-sidecar-proxy",
  ]);
  expect(await web.stop()).toBe(0);
});

test("several upstreams, addresses of their own, and a public listener in front of a service", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const place = await startAgent(await makePlace());
  const { ports } = place;
  startSocat(ports.echo);
  // A service's door without a registration of a sidecar: it registers itself.
  const echo = place.start(
    ...["connect", "proxy", "-service=plain", `-service-addr=127.0.0.1:${ports.echo}`],
    ...["-listen", `127.0.0.1:${ports.another}`, "-register"],
  );
  await echo.printed(`Public listener: 127.0.0.1:${ports.another} => 127.0.0.1:${ports.echo}`);
  await echo.printed(/Starting listener: listener="public listener"/);
  place.start("connect", "proxy", "-sidecar-for", "socat");
  const web = place.start(
    ...["connect", "proxy", "--service=web", "-upstream", `socat:${ports.upstream}`],
    ...["-upstream", `plain:127.0.0.1:${ports.other}`],
  );
  await web.printed(`Upstream: socat => :${ports.upstream}\n`);
  await web.printed(`Upstream: plain => :${ports.other}\n`);
  await comesTo(ports.upstream, "echo");
  await comesTo(ports.other, "echo");
});

test("a prepared query as an upstream: its connections go where its answer points, as soon as it points elsewhere", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const place = await startAgent(await makePlace());
  const { ports } = place;
  const put = async (method: string, path: string, body: object) => {
    const answer = await fetch(`http://127.0.0.1:${ports.http}${path}`, { method, body: JSON.stringify(body) });
    return (await answer.text()).trim();
  };
  startSocat(ports.echo);
  place.start("connect", "proxy", "-sidecar-for", "socat");
  const web = place.start("connect", "proxy", "-service", "web", "-upstream", `find.query:${ports.upstream}`);
  await web.printed(`listener=127.0.0.1:${ports.upstream}->prepared_query:default/find`);
  await comesTo(ports.upstream, "refused");
  const { ID } = JSON.parse(await put("POST", "/v1/query", { Name: "find", Service: { Service: "socat" } })) as {
    ID: string;
  };
  await comesTo(ports.upstream, "echo");
  await web.printed(/destination_id=\S*\/svc\/socat/);
  await put("PUT", `/v1/query/${ID}`, { Name: "find", Service: { Service: "nobody" } });
  await comesTo(ports.upstream, "refused");
});

test.each([
  [["-service", "web", "-upstream", "socat"], /upstream/],
  [["-service", "web", "-upstream", "socat:notaport"], /upstream.*port/i],
  [["-service", "web", "-upstream", "socat:99999"], /upstream.*port|port.*upstream/i],
  [["-upstream", "socat:1"], /service|sidecar-for/],
])("%j is refused with exit status 1", async (flags, told) => {
  const place = await makePlace();
  const { status, out, err } = await place.heddle("connect", "proxy", ...flags);
  expect(status).toBe(1);
  expect(err + out).toMatch(told);
});
