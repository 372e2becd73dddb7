import { expect, test } from "vitest";
import { startCatalog } from "./harness.ts";

type Row = { Effective: { Status: string; Since: string | null }; Status?: string };

test("?effective adds the status that counts, and a change of the node's wakes who waits for a service's checks", async () => {
  await using catalog = await startCatalog();
  const { api, register } = catalog;
  const node = (Status: string) => ({ Node: "n1", Address: "a", Check: { CheckID: "disk", Name: "disk", Status } });
  await register(node("passing"));
  const Check = { CheckID: "up", Name: "up", ServiceID: "web", Status: "passing" };
  await register({ Node: "n1", Address: "a", Service: { Service: "web" }, Check });
  const ask = (path: string) => api.get<Row[]>(`/v1/health/${path}`, { query: { effective: "" } });
  const { body, index } = await ask("checks/web");
  expect(body).toMatchObject([{ Status: "passing", Effective: { Status: "passing", Because: [] } }]);

  const waiting = api.get<Row[]>("/v1/health/checks/web", {
    query: { effective: "", index: String(index), wait: "20s" },
  });
  await register(node("critical"));
  expect((await waiting).body).toMatchObject([
    { Status: "passing", Effective: { Status: "critical", Because: [{ CheckID: "disk", Of: "node" }] } },
  ]);
  for (const path of ["service/web", "node/n1", "state/any"])
    for (const { Effective } of (await ask(path)).body) expect([path, Effective.Status]).toEqual([path, "critical"]);
  const since = (await ask("service/web")).body[0]?.Effective.Since;
  expect(Date.parse(since ?? "")).toBeGreaterThan(Date.now() - 60_000);
  expect((await api.get<Row[]>("/v1/health/service/web")).body[0]).not.toHaveProperty("Effective");
});
