import type { Run } from "../run.ts";

const BODIES: readonly object[] = [
  { NodeChecks: [] },
  { NodeChecks: null },
  { NodeChecks: [], Checks: ["x"] },
  { NodeChecks: ["x"] },
  { Checks: [] },
  { Checks: null },
  { Checks: ["x"] },
  { Checks: ["serfHealth", "x"] },
  { Checks: [], NodeChecks: ["serfHealth"] },
  { Checks: [], NodeChecks: ["x"] },
  { ServiceChecks: [] },
  { ServiceChecks: [{ ID: "x" }] },
  ...[-1, 0, 1, 999, 1000, 1.5, 1e9, "", "0", "0s", "-5s", "1m", "x", "61s", "24h", true, {}].map((LockDelay) => ({
    LockDelay,
  })),
  ...["", "0", "0s", "9s", "10s", "-10s", "24h", "25h", "86400s", "86401s", "x", "10", "1e9s"].map((TTL) => ({ TTL })),
  ...["", "release", "delete", "Release", "x"].map((Behavior) => ({ Behavior })),
  ...["n1", "N1", "none", ""].map((Node) => ({ Node })),
];

/** Sessions as they are made, shown, renewed and ended. */
export default async function sessions({ send }: Run): Promise<void> {
  for (const body of BODIES) {
    const made = await send("PUT", "/v1/session/create", body);
    if (made.some(({ status }) => status !== 200)) continue;
    const ids = made.map((answer) => (JSON.parse(answer.body) as { ID: string }).ID);
    const id = (agent: { name: string }): string => ids[agent.name === "consul" ? 0 : 1] ?? "";
    await send("GET", (agent) => `/v1/session/info/${id(agent)}`);
    await send("PUT", (agent) => `/v1/session/renew/${id(agent)}`);
    await send("PUT", (agent) => `/v1/session/destroy/${id(agent)}`);
    await send("PUT", (agent) => `/v1/session/destroy/${id(agent)}`);
    await send("GET", (agent) => `/v1/session/info/${id(agent)}`);
  }
  for (const rest of ["", "x", "11111111-1111-1111-1111-111111111111", "11111111-1111-1111-1111-111111111111/x"]) {
    for (const [method, call] of [
      ["PUT", "renew"],
      ["PUT", "destroy"],
      ["GET", "info"],
      ["GET", "node"],
    ] as const)
      await send(method, `/v1/session/${call}/${rest}`);
  }
}
