import { keyToPem, generateKey } from "@heddle/tls";
import { expect, it } from "vitest";
import { startCa, type TestCa } from "./harness.ts";

const STATUS = "/v1/connect/ca/status";

interface Status {
  State: string;
  Roots: {
    ID: string;
    Active: boolean;
    Leaves: number;
    CrossSigned: boolean;
    Origin: string;
    RemoveAt: string | null;
  }[];
  Followers: number;
  RenewAt: string | null;
}

const statusOf = async (ca: TestCa): Promise<Status> => (await ca.ask("GET", STATUS)).json() as Status;
const sign = async (ca: TestCa, service: string) => {
  expect((await ca.sign(await ca.requestFor(service))).status).toBe(200);
};

it("tells how many leaves lead to which root while a rotation goes on, and who has heard of it", async () => {
  await using ca = await startCa();
  for (const service of ["web", "web", "db", "api"]) await sign(ca, service);
  const before = await statusOf(ca);
  expect(before).toMatchObject({ State: "steady", Followers: 0, Roots: [{ Active: true, Leaves: 3, RemoveAt: null }] });
  // Two thirds of ten years, less the minute that lies in the past.
  expect(Date.parse(before.RenewAt ?? "") - Date.now()).toBeGreaterThan(2_430 * 86_400_000);

  const Config = { PrivateKey: keyToPem(generateKey()) };
  expect((await ca.ask("PUT", "/v1/connect/ca/configuration", { Provider: "consul", Config })).status).toBe(200);
  await sign(ca, "web");
  const { State, Roots } = await statusOf(ca);
  expect(State).toBe("rotating");
  expect(Roots).toMatchObject([
    { Active: true, Leaves: 1, CrossSigned: true, Origin: "key", RemoveAt: null },
    { Active: false, Leaves: 2, CrossSigned: false, Origin: "made", ID: before.Roots[0]?.ID },
  ]);
  expect(Date.parse(Roots[1]?.RemoveAt ?? "") - Date.now()).toBeGreaterThan(143 * 3_600_000);

  const index = (await ca.ask("GET", "/v1/connect/ca/roots")).headers.get("x-consul-index");
  const gone = new AbortController();
  const waiting = fetch(`${ca.url}/v1/connect/ca/roots?index=${index}`, { signal: gone.signal }).catch(() => {});
  await expect.poll(async () => (await statusOf(ca)).Followers).toBe(1);
  gone.abort();
  await waiting;
  await expect.poll(async () => (await statusOf(ca)).Followers).toBe(0);
});

it("tells whose clocks are apart, and by how much", async () => {
  await using ca = await startCa();
  const counts = { proxies: 0, trusting: 0, leaves: 0, renewed: 0 };
  const report = (node: string, at: number) =>
    ca.ask("PUT", "/internal/v1/ca/progress", { node, root: "r", ...counts, at });
  await report("n1", Date.now());
  await report("n2", Date.now() - 600_000);
  const { Following } = (await ca.ask("GET", STATUS)).json() as { Following: { ClocksApart: { AheadMs: number }[] } };
  expect(Following.ClocksApart).toEqual([{ Agent: expect.stringMatching(/^n2, /), AheadMs: expect.any(Number) }]);
  expect(Math.round((Following.ClocksApart[0]?.AheadMs ?? 0) / 60_000)).toBe(-10);
});

it("shows no key", async () => {
  await using ca = await startCa();
  expect((await ca.ask("GET", STATUS)).text).not.toContain("PRIVATE KEY");
  expect((await ca.ask("PUT", STATUS, {})).status).toBe(405);
});
