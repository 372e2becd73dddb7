/** Step 15 of the walk: what the node decides is told while it happens, by the agent and by its proxies. */
import { expect, onTestFinished, test } from "vitest";
import { comesTo, netcat, startMesh } from "../support/mesh.ts";
import { start } from "../support/process.ts";
import { needs } from "../support/tools.ts";

interface Decision {
  By: string;
  Outcome: string;
  Source: string;
  Destination: string;
  SourceURI: string;
  Rule: string;
  Reason: string;
}

/** Follows the decisions; what has come so far. */
async function follow(url: string): Promise<Decision[]> {
  const controller = new AbortController();
  onTestFinished(() => controller.abort());
  const answer = await fetch(url, { signal: controller.signal });
  expect(answer.headers.get("content-type")).toBe("application/x-ndjson");
  const found: Decision[] = [];
  const read = async () => {
    let rest = "";
    for await (const chunk of answer.body as AsyncIterable<Uint8Array>) {
      const lines = (rest + Buffer.from(chunk).toString()).split("\n");
      rest = lines.pop() ?? "";
      found.push(...lines.map((line) => JSON.parse(line) as Decision));
    }
  };
  read().catch(() => {});
  return found;
}

test("allowed, cut and refused connections, and authorize calls, are streamed with their rule", async (ctx) => {
  needs(ctx, "socat", "nc", "curl");
  const { ports, ok } = await startMesh();
  await comesTo(ports.upstream, "echo");
  const url = `http://127.0.0.1:${ports.http}/v1/agent/connect/decisions`;
  const found = await follow(url);
  const has = (fields: Partial<Decision>) => expect.poll(() => found).toContainEqual(expect.objectContaining(fields));
  const web = { By: "proxy", Source: "web", Destination: "socat" };

  const open = start("nc", ["localhost", String(ports.upstream)]);
  open.write("before\n");
  await open.printed("before\n");
  await has({ ...web, Outcome: "allowed", Rule: "", Reason: "ACLs disabled, access is allowed by default" });
  expect(found[0]?.SourceURI).toMatch(/^spiffe:\/\/.*\/svc\/web$/);

  await ok("intention", "create", "-deny", "web", "socat");
  await open.exited;
  const Rule = expect.stringMatching(/^DENY default\/web => default\/socat/) as string;
  await has({ ...web, Outcome: "cut", Rule });
  await netcat(ports.upstream, "not allowed");
  await has({ ...web, Outcome: "refused", Rule });

  const ClientCertURI = found[0]?.SourceURI;
  await fetch(`http://127.0.0.1:${ports.http}/v1/agent/connect/authorize`, {
    method: "POST",
    body: JSON.stringify({ Target: "socat", ClientCertURI, ClientCertSerial: "1" }),
  });
  await has({ By: "authorize", Outcome: "refused", Source: "web", Destination: "socat", Rule });

  // What a proxy reports is checked and bounded.
  const report = async (body: unknown) => (await fetch(url, { method: "POST", body: JSON.stringify(body) })).status;
  expect(await report({ Decisions: [{ Outcome: "maybe" }] })).toBe(400);
  expect(await report({ Decisions: [{ Outcome: "cut", Reason: "x".repeat(2_049) }] })).toBe(400);
  expect(await report({ Decisions: Array.from({ length: 1_001 }, () => ({ Outcome: "cut" })) })).toBe(400);
  expect(await report({ Missed: 3, Decisions: [{ Outcome: "cut", Source: "late" }] })).toBe(200);
  await has({ Source: "late", Missed: 3 } as Partial<Decision>);

  // Followers are bounded.
  const more = await Promise.all(Array.from({ length: 63 }, () => follow(url)));
  expect(more).toHaveLength(63);
  expect((await fetch(url)).status).toBe(429);
});
