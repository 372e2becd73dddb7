/** Debian's python3-consul: each of its methods, and what Consul answers to the same calls beside it. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { startConsulAgent } from "../support/consul.ts";
import { makePlace, startAgent } from "../support/mesh.ts";
import { run } from "../support/process.ts";
import { differences, normalise } from "../support/transcript.ts";

const PYTHON = "/usr/bin/python3"; // Debian's, which has Debian's packages
const NODE = "py1";

async function callAll(port: number): Promise<Map<string, unknown>> {
  const script = join(import.meta.dirname, "python_consul.py");
  const { status, out, err } = await run(PYTHON, [script, String(port), NODE], { timeoutMs: 40_000 });
  expect({ status, err }).toEqual({ status: 0, err: "" });
  const lines = out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as [string, unknown]);
  return new Map(lines.map(([name, value]) => [name, normalise(value)]));
}

test("every method does what it does with Consul", { timeout: 60_000 }, async (ctx) => {
  if ((await run(PYTHON, ["-c", "import consul"]).catch(() => undefined))?.status !== 0) {
    const reason = `skipped '${ctx.task.name}': there is no python3-consul (Debian package python3-consul)`;
    process.stdout.write(`${reason}\n`);
    ctx.skip(reason);
  }
  const place = await makePlace();
  place.write("node.json", { node_name: NODE });
  place.remove("socat.json");
  const [, theirs] = await Promise.all([startAgent(place, ["-dev"], "Heddle agent running!"), startConsulAgent(NODE)]);
  const [lines, their] = await Promise.all([callAll(place.ports.http), theirs && callAll(theirs.http)]);
  expect(lines.get("not called")).toEqual([]);
  expect(lines.has("never"), JSON.stringify(lines.get("never"))).toBe(false);
  expect(lines.get("kv.get")).toMatchObject({ value: { Key: "a/b", Value: "hello" } });
  if (their) expect(differences(lines, their)).toEqual({});
});
