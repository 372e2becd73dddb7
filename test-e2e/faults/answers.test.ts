/** API-12, CHK-01, CA-01: what answers may carry, which checks may come over HTTP, which leaves may be asked for. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { ask, type Daemon, daemon, freePort, get, put, serve, tempDir } from "./daemon.ts";

const PAYLOADS = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}${7*7}", "é\u202e\u0000"];
let agent: Daemon;
let catalog: Daemon;
let ca: Daemon;

beforeAll(async () => {
  const http = await freePort();
  agent = await daemon(
    ["agent", "-dev", `-http-port=${http}`, `-server-port=${await freePort()}`, "-dns-port=-1"],
    http,
  );
  catalog = await serve("catalog", await freePort());
  ca = await serve("ca", await freePort());
});

const enc = encodeURIComponent;
const ROUTES: ((x: string) => [method: string, path: string])[] = [
  ...[
    "catalog/service",
    "catalog/node",
    "catalog/connect",
    "health/service",
    "health/node",
    "health/checks",
    "health/state",
    "health/connect",
    "kv",
    "session/info",
    "session/node",
    "session/renew",
    "session/destroy",
    "agent/service",
    "agent/health/service/name",
    "agent/health/service/id",
    "agent/connect/ca/leaf",
    "connect/intentions",
    "agent/check/pass",
    "agent/service/deregister",
    "agent/check/deregister",
  ].map((path) => (x: string): [string, string] => [
    /destroy|renew|pass|deregister/.test(path) ? "PUT" : "GET",
    `/v1/${path}/${enc(x)}`,
  ]),
  ...[
    "catalog/services?dc=",
    "catalog/nodes?near=",
    "catalog/nodes?node-meta=",
    "catalog/nodes?filter=",
    "kv/a?index=",
    "kv/a?wait=",
    "kv/a?ns=",
    "kv/?keys&separator=",
    "connect/intentions/match?by=source&name=",
    "connect/intentions/match?by=",
    "connect/intentions/check?source=a&destination=",
    "connect/ca/roots?index=",
    "status/leader?dc=",
    "agent/services?filter=",
    "agent/self?pretty&x=",
    "event/list?name=",
  ].map((path) => (x: string): [string, string] => ["GET", `/v1/${path}${enc(x)}`]),
  (x) => ["GET", `/${enc(x)}`],
  (x) => ["GET", `/v1/${enc(x)}`],
  (x) => ["GET", `/ui/${enc(x)}`],
  (x) => ["POST", `/v1/kv/${enc(x)}`],
  (x) => ["GET", `/internal/v1/${enc(x)}`],
];

test("whatever is put into paths and parameters comes back as plain text or JSON, not to be sniffed", async () => {
  const odd: string[] = [];
  for (const { url } of [agent, catalog, ca]) {
    for (const route of ROUTES) {
      for (const payload of PAYLOADS) {
        const [method, path] = route(payload);
        const answer = await ask(url + path, { method });
        const type = answer.headers["content-type"];
        // Without a body there is nothing to run.
        const isSafe =
          answer.text === "" ||
          (/^(?:text\/plain|application\/json)\b/.test(type ?? "") &&
            answer.headers["x-content-type-options"] === "nosniff");
        // Where Consul's handlers fail on what a caller wrote they answer 500 and say so.
        const isOurs =
          answer.status >= 500 &&
          !/strconv|Failed to create boolean expression|parameter must be|No path to datacenter|SPIFFE ID|UUID|CheckID|ServiceID|Unknown|does not|failed lookup/i.test(
            answer.text,
          );
        if (!isSafe || isOurs) odd.push(`${method} ${path}: ${answer.status} ${type} ${answer.text.slice(0, 80)}`);
      }
    }
  }
  expect(odd).toEqual([]);
});

test.each(["agent", "catalog"])("%s: a raw value is text in a sandbox, whatever it holds", async (name) => {
  const { url } = name === "agent" ? agent : catalog;
  for (const [n, payload] of PAYLOADS.entries()) {
    expect((await put(`${url}/v1/kv/page/${n}.html`, payload)).status).toBe(200);
    const { headers, text } = await get(`${url}/v1/kv/page/${n}.html?raw`);
    expect([
      text,
      headers["content-type"],
      headers["x-content-type-options"],
      headers["content-security-policy"],
    ]).toEqual([payload, "text/plain", "nosniff", "sandbox"]);
  }
});

describe("CHK-01: a script check over HTTP", () => {
  const proof = join(tempDir(), "proof");
  const script = ["/bin/sh", "-c", `touch ${proof}`];
  const definitions: [path: string, body: object][] = [
    ...(["Args", "ScriptArgs", "args", "script_args", "scriptargs", "SCRIPTARGS"] as const).flatMap(
      (key): [string, object][] => [
        ["/v1/agent/check/register", { Name: "x", [key]: script, Interval: "1s" }],
        ["/v1/agent/service/register", { Name: "x", Check: { [key]: script, Interval: "1s" } }],
        ["/v1/agent/service/register", { Name: "x", Checks: [{ TTL: "1m" }, { [key]: script, Interval: "1s" }] }],
        [
          "/v1/agent/service/register",
          { Name: "x", Connect: { SidecarService: { Check: { [key]: script, Interval: "1s" } } } },
        ],
        [
          "/v1/agent/service/register",
          { Name: "x", Connect: { SidecarService: { Checks: [{ [key]: script, Interval: "1s" }] } } },
        ],
      ],
    ),
    ["/v1/agent/check/register", { Name: "x", Script: script.join(" "), Interval: "1s" }],
    [
      "/v1/agent/check/register",
      { Name: "x", DockerContainerID: "abc", Shell: "/bin/sh", Args: script, Interval: "1s" },
    ],
    ["/v1/agent/check/register", { Definition: { Args: script, Interval: "1s" }, Name: "x" }],
  ];
  test("is refused in every spelling and place, and nothing is registered or run", async () => {
    for (const [path, body] of definitions) {
      const answer = await put(agent.url + path, body);
      // Consul's status where its check is added, 500, and its text.
      expect([body, `${answer.status} ${answer.text}`]).toEqual([
        body,
        expect.stringMatching(/^(?:400|500) Scripts are disabled|^400 /),
      ]);
    }
    expect((await get(`${agent.url}/v1/agent/services`)).json()).toEqual({});
    expect(Object.keys((await get(`${agent.url}/v1/agent/checks`)).json<object>())).toEqual([]);
    // By the catalog a definition is only told, never run.
    const told = {
      Node: "elsewhere",
      Address: "1.1.1.1",
      Check: { Name: "x", CheckID: "x", Definition: { ScriptArgs: script, IntervalDuration: "1s" } },
    };
    await put(`${agent.url}/v1/catalog/register`, told);
    expect(existsSync(proof)).toBe(false);
  });
});

describe("CA-01: a leaf", () => {
  test.each([
    "web%2f..",
    "web%2F..%2F..%2Fsvc%2Fdb",
    "*",
    "%00",
    "web%0adb",
    "..",
    "%2e%2e",
    "web%20db",
    "w%C3%A9b",
    "a".repeat(3_000),
    "web?dc=other",
  ])("for '%s' is not made", async (name) => {
    const answer = await get(`${agent.url}/v1/agent/connect/ca/leaf/${name}`);
    expect(answer.text).not.toContain("PRIVATE KEY");
    expect(answer.status).toBeGreaterThanOrEqual(300);
    expect(await signedCount()).toBe(0);
  });

  const signedCount = async () =>
    Number(
      /^heddle_ca_certificates_signed_total\{[^}]*\} (\d+)$/m.exec((await get(`${agent.url}/metrics`)).text)?.[1] ?? 0,
    );

  test("names the service asked for to the letter, upper case included", async () => {
    for (const name of ["web", "WEB"]) {
      const leaf = (await get(`${agent.url}/v1/agent/connect/ca/leaf/${name}`)).json<{
        ServiceURI: string;
        PrivateKeyPEM: string;
      }>();
      expect(leaf.ServiceURI).toMatch(new RegExp(`/svc/${name}$`));
    }
  });

  test("CA-02: a request that is none, or asks for more, is refused by the daemon itself", async () => {
    for (const csr of [
      "",
      "x",
      "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
      "x".repeat(20_000),
    ]) {
      const answer = await ask(`${ca.url}/internal/v1/ca/sign`, { method: "POST", body: { csr } });
      expect([answer.status, answer.json()]).toEqual([
        400,
        { error: { code: "invalid_argument", message: expect.stringMatching(/\S/) } },
      ]);
    }
  });
});

test("CA-05: keys never leave the CA, and its files are its user's alone", async () => {
  for (const path of [
    "/v1/connect/ca/roots",
    "/v1/connect/ca/roots?pem=true",
    "/v1/connect/ca/configuration",
    "/metrics",
    "/readyz",
  ])
    for (const { url } of [agent, ca]) expect((await get(url + path)).text).not.toMatch(/PRIVATE KEY/);
  expect(agent.output() + ca.output()).not.toMatch(/PRIVATE KEY/);
});
