import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import type { AgentConfig } from "./config/index.ts";
import { prepareSettings } from "./http-settings.ts";

const open: (() => void)[] = [];
afterEach(() => open.splice(0).forEach((close) => close()));

async function serve(http: Partial<AgentConfig["http"]>, translateWanAddrs = false): Promise<string> {
  const config = {
    http: { allowWriteHttpFrom: [], blockEndpoints: [], responseHeaders: {}, ...http },
    translateWanAddrs,
  } as unknown as AgentConfig;
  const apply = prepareSettings(() => config);
  const server = createServer((req, res) => void (apply(req, res) && res.end("served")));
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  open.push(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("http_config", () => {
  test.each([
    ["/v1/event/fire/x", 403],
    ["/v1/event/fire", 403],
    ["/v1/event%2Ffire/x", 403],
    ["/v1/event/list", 200],
    ["/v1/kv/event/fire", 200],
    ["/ui/v1/event/fire", 200],
  ])("block_endpoints: %s is %d", async (path, status) => {
    const url = await serve({ blockEndpoints: ["/v1/event/fire"] });
    const answer = await fetch(url + path);
    expect(answer.status).toBe(status);
    expect(await answer.text()).toBe(status === 403 ? "Endpoint is blocked by agent configuration" : "served");
  });

  test.each([
    [["127.0.0.0/8"], "PUT", 200],
    [["10.0.0.0/8", "::1/128"], "PUT", 403],
    [["10.0.0.0/8"], "DELETE", 403],
    [["10.0.0.0/8"], "GET", 200],
    [["127.0.0.1/32"], "POST", 200],
  ])("allow_write_http_from %j: %s is %d", async (allowWriteHttpFrom, method, status) => {
    const answer = await fetch(`${await serve({ allowWriteHttpFrom })}/v1/kv/a`, { method });
    expect(answer.status).toBe(status);
    if (status === 403) expect(await answer.text()).toBe("Access is restricted");
  });

  test("response headers go out with every answer, refused ones too", async () => {
    const url = await serve({ responseHeaders: { "X-Kit": "yes" }, blockEndpoints: ["/v1/agent"] }, true);
    for (const path of ["/v1/agent/self", "/v1/kv/a"]) {
      const { headers } = await fetch(url + path);
      expect([headers.get("x-kit"), headers.get("x-consul-translate-addresses")]).toEqual(["yes", "true"]);
    }
  });
});
