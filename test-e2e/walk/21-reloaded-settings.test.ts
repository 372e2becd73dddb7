/** Settings that a running agent takes up by `heddle reload`: metadata, limits, output of checks, metrics, the certificate of HTTPS. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { once } from "node:events";
import { createTestMesh } from "@heddle/tls/testing";
import { expect, test } from "vitest";
import { freePort } from "../faults/daemon.ts";
import { makePlace, startAgent } from "../support/mesh.ts";

test("what changes in the file holds after a reload, and a certificate that does not fit changes nothing", async () => {
  const place = await makePlace();
  const https = await freePort();
  const mesh = await createTestMesh();
  const identity = (name: string) => {
    const { certPem, keyPem } = mesh.identity(name);
    writeFileSync(join(place.dir, `${name}.pem`), certPem);
    writeFileSync(join(place.dir, `${name}.key`), keyPem, { mode: 0o600 });
  };
  identity("first");
  identity("second");
  const settings = (cert: string, key: string, more: string) =>
    place.write(
      "settings.hcl",
      `ports { https = ${https} }\ntls { https { cert_file = "${place.dir}/${cert}.pem" key_file = "${place.dir}/${key}.key" } }\n${more}\n`,
    );
  settings("first", "first", 'node_meta { rack = "1" }');
  const { api, heddle } = await startAgent(place);
  const url = `http://127.0.0.1:${place.ports.http}`;
  const rack = async () => (await api<{ Meta: Record<string, string> }[]>("/v1/catalog/nodes"))[0]?.Meta["rack"];
  await expect.poll(rack).toBe("1");
  const serial = async () => {
    const socket = connect({ port: https, host: "127.0.0.1", rejectUnauthorized: false });
    await once(socket, "secureConnect");
    const { serialNumber } = socket.getPeerCertificate();
    socket.destroy();
    return serialNumber;
  };
  const before = await serial();
  await fetch(`${url}/v1/agent/check/register`, { method: "PUT", body: '{"ID":"t","Name":"t","TTL":"1h"}' });
  const output = async () => (await api<Record<string, { Output: string }>>("/v1/agent/checks"))["t"]?.Output;
  await fetch(`${url}/v1/agent/check/pass/t?note=seen`, { method: "PUT" });
  await expect.poll(output).toBe("seen");

  settings("second", "first", 'node_meta { rack = "2" }');
  expect((await heddle("reload")).status).not.toBe(0);
  expect([await rack(), await serial()]).toEqual(["1", before]);

  settings(
    "second",
    "second",
    'node_meta { rack = "2" }\ndiscard_check_output = true\nlimits { http_max_requests_per_client = 20 http_max_conns_per_client = 3 }\n' +
      'telemetry { prefix_filter = ["-consul.http"] }',
  );
  expect((await heddle("reload")).status).toBe(0);
  await expect.poll(rack, { interval: 200 }).toBe("2");
  expect(await serial()).not.toBe(before);
  await fetch(`${url}/v1/agent/check/fail/t?note=unseen`, { method: "PUT" });
  await expect.poll(output, { interval: 200 }).toBe("");
  const names = (await api<{ Samples: { Name: string }[] }>("/v1/agent/metrics")).Samples.map(({ Name }) => Name);
  expect(names.filter((name) => name.startsWith("consul.http"))).toEqual([]);

  const statuses = new Set<number>();
  for (let i = 0; i < 200 && !statuses.has(429); i++) statuses.add((await fetch(`${url}/v1/status/leader`)).status);
  expect(statuses).toEqual(new Set([200, 429]));
  settings("second", "second", "limits { http_max_requests_per_client = 0 }");
  await expect.poll(async () => (await heddle("reload")).status).toBe(0);
  for (let i = 0; i < 200; i++) expect((await fetch(`${url}/v1/status/leader`)).status).toBe(200);
});
