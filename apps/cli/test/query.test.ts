/** `heddle query`, which Consul's command line has not, against a real agent. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Agent, heddle, startHeddle } from "./harness.ts";

let agent: Agent;
beforeAll(async () => void (agent = await startHeddle()), 30_000);
afterAll(() => agent[Symbol.asyncDispose]());

const query = (args: string[], stdin?: string) =>
  heddle(["query", ...args], { env: { HEDDLE_HTTP_ADDR: agent.url }, ...(stdin !== undefined && { stdin }) });

it("defines, lists, executes, changes and deletes queries", async () => {
  for (const [node, status] of [
    ["n1", "passing"],
    ["n2", "critical"],
  ]) {
    const body = {
      Node: node,
      Address: `10.0.0.${node?.slice(1)}`,
      Service: { ID: `w-${node}`, Service: "web", Port: 80 },
      Check: { Name: "c", CheckID: `c-${node}`, ServiceID: `w-${node}`, Status: status },
    };
    const answer = await fetch(`${agent.url}/v1/catalog/register`, { method: "PUT", body: JSON.stringify(body) });
    expect(answer.status).toBe(200);
  }
  const made = await query(["create", "-"], JSON.stringify({ Name: "find", Service: { Service: "web" } }));
  expect(made.status).toBe(0);
  const id = made.out.trim();
  expect((await query(["list"])).out.split("\n")[1]).toBe(`${id}  find  web      -`);
  expect((await query(["execute", "find"])).out).toBe("Node  Instance  Address   Port\nn1    w-n1      10.0.0.1  80\n");
  expect((await query(["execute", "-explain", id])).out).toContain(
    "Node  Instance  Left out because\nn2    w-n2      check 'c-n2' is critical\n",
  );
  expect((await query(["execute", "-connect", "find"])).out).toBe("Node  Instance  Address  Port\n");
  const changed = JSON.stringify({ Name: "find", Service: { Service: "web", Tags: ["v1"] } });
  expect((await query(["update", id, "-"], changed)).out).toBe(`Query updated: ${id}\n`);
  expect(JSON.parse((await query(["get", id])).out)).toMatchObject({ ID: id, Service: { Tags: ["v1"] } });
  expect(JSON.parse((await query(["explain", "find"])).out)).toMatchObject({ Query: { Name: "find" } });
  expect((await query(["delete", id])).out).toBe(`Query deleted: ${id}\n`);
  expect(await query(["execute", "find"])).toMatchObject({
    status: 1,
    err: "Error executing query: Unexpected response code: 404 (Query not found)\n",
  });
});
