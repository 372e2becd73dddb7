import { expect, test } from "vitest";
import { startCatalog } from "./harness.ts";

interface Explained {
  Candidates: number;
  Instances: { Service: { ID: string } }[];
  LeftOut: { ServiceID: string; Reasons: { Filter: string; Checks?: { CheckID: string; Status: string }[] }[] }[];
  Order: string;
}

test("each instance that is left out is told with every filter that does so, and with the checks that fail", async () => {
  await using catalog = await startCatalog();
  const register = (node: string, id: string, Tags: string[], status: string, zone: string) =>
    catalog.register({
      Node: node,
      Address: "10.0.0.1",
      NodeMeta: { zone },
      Service: { ID: id, Service: "web", Tags, Port: 80 },
      Checks: [{ CheckID: `${id}-alive`, Name: "alive", Status: status, ServiceID: id, Output: "no route" }],
    });
  await register("n1", "good", ["v2"], "passing", "a");
  await register("n2", "failing", ["v2"], "critical", "a");
  await register("n3", "old", ["v1"], "warning", "b");
  const question = `/v1/health/service/web?passing&tag=v2&node-meta=zone:a&filter=${encodeURIComponent('Service.ID != "old"')}`;
  const get = async <T>(path: string) => (await (await fetch(`${catalog.url}${path}`)).json()) as T;

  const answer = await get<Explained>(`${question}&explain`);
  expect(answer.Candidates).toBe(3);
  expect(answer.Instances).toEqual(await get(question));
  expect(answer.Instances.map((row) => row.Service.ID)).toEqual(["good"]);
  const reasons = new Map(answer.LeftOut.map((row) => [row.ServiceID, row.Reasons]));
  expect(reasons.get("failing")).toEqual([
    {
      Filter: "passing",
      Wanted: ["passing"],
      Checks: [
        { CheckID: "failing-alive", Name: "alive", Status: "critical", ServiceID: "failing", Output: "no route" },
      ],
    },
  ]);
  expect(reasons.get("old")?.map((reason) => reason.Filter)).toEqual(["tag", "node-meta", "passing", "filter"]);
  expect(answer.Order).toBe("by node and id");

  const listed = await get<Explained>("/v1/catalog/service/web?tag=v2&explain");
  expect(listed.LeftOut.map((row) => [row.ServiceID, row.Reasons[0]?.Filter])).toEqual([["old", "tag"]]);
  expect(await get<Explained>("/v1/health/connect/web?explain")).toMatchObject({ Candidates: 0, Instances: [] });
  expect(await get<unknown[]>("/v1/health/service/web?explain=false")).toHaveLength(3);
});

test("an explanation can be waited for", async () => {
  await using catalog = await startCatalog();
  const path = `${catalog.url}/v1/health/service/web?passing&explain`;
  const index = (await fetch(path)).headers.get("x-consul-index");
  const waiting = fetch(`${path}&index=${index}&wait=60s`);
  await catalog.register({
    Node: "n1",
    Address: "10.0.0.1",
    Service: { Service: "web" },
    Check: { CheckID: "c", Name: "c", Status: "critical" },
  });
  expect(((await (await waiting).json()) as Explained).LeftOut).toHaveLength(1);
});
