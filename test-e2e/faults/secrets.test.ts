/** API-14: secrets that pass through an agent stand in no log, metric or process table. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { makePlace, startAgent } from "../support/mesh.ts";

const ROUNDS = 5;

test("tokens and keys leave no trace", async () => {
  const place = await makePlace();
  const { agent } = await startAgent(place, ["-dev", "-log-level=trace"]);
  const url = `http://127.0.0.1:${place.ports.http}`;
  const secrets: string[] = [];
  const secret = () => {
    const value = `5ec2e7${crypto.randomUUID().slice(6)}`;
    secrets.push(value);
    return value;
  };
  const bodies: [method: string, path: string, body: () => unknown][] = [
    ["PUT", "/v1/agent/service/register", () => ({ Name: "a", Port: 1, Token: secret() })],
    ["PUT", "/v1/agent/check/register", () => ({ Name: "c", TTL: "1m", Token: secret() })],
    ["PUT", "/v1/agent/check/register", () => ({ Name: "c", TTL: "bad", Token: secret() })],
    ["PUT", "/v1/agent/token/default", () => ({ Token: secret() })],
    ["POST", "/v1/query", () => ({ Name: "q", Token: secret(), Service: { Service: "a" } })],
    ["PUT", "/v1/connect/ca/configuration", () => ({ Provider: "consul", Config: { PrivateKey: secret() } })],
    ["PUT", "/v1/kv/secret", secret],
    ["PUT", "/v1/txn", () => [{ KV: { Verb: "set", Key: "k", Value: Buffer.from(secret()).toString("base64") } }]],
    ["PUT", "/v1/acl/login", () => ({ BearerToken: secret(), AuthMethod: "m" })],
  ];
  for (let round = 0; round < ROUNDS; round++) {
    for (const [method, path, body] of bodies) await fetch(url + path, { method, body: JSON.stringify(body()) });
    for (const path of ["/v1/catalog/nodes", "/v1/kv/none", "/v1/agent/self", "/v1/no/such", "/v1/health/service/"]) {
      await fetch(`${url}${path}?token=${secret()}`);
      await fetch(`${url}${path}?index=x&token=${secret()}`);
      await fetch(`${url}${path}?%74oken=${secret()}`);
      await fetch(url + path, { headers: { "X-Consul-Token": secret() } });
      await fetch(url + path, { headers: { Authorization: `Bearer ${secret()}` } });
    }
  }
  // What was printed last is out when its request is.
  await fetch(`${url}/v1/agent/members?last`);
  await agent.printed(/members\?last/);
  const metrics = await Promise.all(
    ["/metrics", "/v1/agent/metrics"].map(async (path) => (await fetch(url + path)).text()),
  );
  const table = ["cmdline", "environ"].map((name) => readFileSync(`/proc/${agent.child.pid}/${name}`, "utf8"));
  const seen = [agent.text, ...metrics, ...table].join("\n");
  expect(secrets.filter((value) => seen.includes(value))).toEqual([]);
}, 60_000);
