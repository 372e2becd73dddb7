import type { IncomingMessage } from "node:http";
import { silentLog } from "@heddle/daemon";
import { rememberCaller } from "@heddle/daemon/testing";
import { openStore } from "@heddle/store";
import { expect, test } from "vitest";
import { memberAlive } from "./commands/members.ts";
import { register } from "./commands/register.ts";
import { toRegistration } from "./commands/registration.ts";
import { requireOwnNode } from "./own-node.ts";

const N1_ID = "11111111-1111-1111-1111-111111111111";

async function mayWrite(caller: { role: string; node?: string } | undefined, written: object) {
  const store = await openStore({ dataDir: "", name: "catalog", log: silentLog });
  await store.run(register(toRegistration({ Node: "n1", Address: "10.0.0.1", ID: N1_ID }, "dc1")));
  await store.run(memberAlive({ Node: "n1", ID: N1_ID, Address: "10.0.0.1", Server: false }, 0));
  await store.run(register(toRegistration({ Node: "ext", Address: "10.0.0.9" }, "dc1")));
  const req = { url: "/v1/catalog/register?x" } as IncomingMessage;
  if (caller) rememberCaller(req, caller);
  try {
    requireOwnNode(req, { Node: "", ...written }, { store, log: silentLog });
    return "yes";
  } catch (error) {
    return (error as Error).message;
  }
}

const agent = (node?: string) => ({ role: "agent", ...(node && { node }) });

test.each([
  ["on loopback everybody", undefined, { Node: "n1" }, "yes"],
  ["an operator", { role: "operator" }, { Node: "n1" }, "yes"],
  ["a server", { role: "server" }, { Node: "n1", isOwnOnly: true }, "yes"],
  ["its agent", agent("n1"), { Node: "n1", ID: N1_ID, isOwnOnly: true }, "yes"],
  ["its agent, whatever the case", agent("N1"), { Node: "n1" }, "yes"],
  ["an agent, an external node", agent("n1"), { Node: "ext" }, "yes"],
  ["an agent, a node that is not there", agent("n1"), { Node: "new" }, "yes"],
])("%s may write it", async (_, caller, written, verdict) => {
  expect(await mayWrite(caller, written)).toBe(verdict);
});

test.each([
  ["another agent", agent("n2"), { Node: "n1" }, /^the agent of node 'n2' may not write node 'n1'/],
  [
    "an agent, for another node",
    agent("n2"),
    { Node: "new", isOwnOnly: true },
    /^the agent of node 'n2' may not write/,
  ],
  ["an agent with another's id", agent("n2"), { Node: "n2", ID: N1_ID }, /^node id 1{8}-.* is that of node 'n1'/],
  ["one whose certificate names no node", agent(), { Node: "n1" }, /^the certificate of role 'agent' names no node/],
])("%s may not", async (_, caller, written, verdict) => {
  expect(await mayWrite(caller, written)).toMatch(verdict);
});
