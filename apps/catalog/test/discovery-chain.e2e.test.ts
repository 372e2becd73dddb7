import { spawn } from "node:child_process";
import { join } from "node:path";
import { createStreamClient } from "@heddle/api-client";
import { silentLog } from "@heddle/daemon";
import { expect, test } from "vitest";
import { startCatalog } from "./harness.ts";

interface Answer {
  Chain: { Protocol: string; StartNode: string; CustomizationHash?: string; Targets: Record<string, { SNI: string }> };
}

/** A real CA, in memory. */
async function startCa() {
  const child = spawn(process.execPath, [join(import.meta.dirname, "../../ca/src/main.ts"), "-port=0", "-log-json"]);
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  let said = "";
  for (const out of [child.stdout, child.stderr]) out.setEncoding("utf8").on("data", (text: string) => (said += text));
  await expect.poll(() => said).toMatch(/"address":"http/);
  return {
    url: (/"address":"(http[^"]+)"/.exec(said) as RegExpExecArray)[1] as string,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

async function startBoth() {
  const stack = new AsyncDisposableStack();
  const ca = stack.use(await startCa());
  const catalog = stack.use(await startCatalog([`-ca-url=${ca.url}`]));
  const read = (path: string) => catalog.api.get<Answer>(path, { timeoutMs: 30_000 });
  const write = (body: object) => catalog.api.put("/v1/config", { body });
  await expect
    .poll(() =>
      read("/v1/discovery-chain/web").then(
        () => true,
        () => false,
      ),
    )
    .toBe(true);
  return { catalog, read, write, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

test("without a CA there is no trust domain, and so no chain", async () => {
  await using catalog = await startCatalog(["-ca-url=http://127.0.0.1:1"]);
  const { status, raw } = await catalog.api.get("/v1/discovery-chain/web", { allow: [500] });
  expect([status, raw.toString()]).toEqual([500, "no cluster ca config setup"]);
});

test("a reader is woken by the entries that its chain is made from, as they change, and by no others", async () => {
  await using mesh = await startBoth();
  const { read, write } = mesh;
  await write({ Kind: "service-resolver", Name: "old", Redirect: { Service: "newer" } });
  const before = await read("/v1/discovery-chain/old");
  expect(before.body.Chain.StartNode).toBe("resolver:newer.default.dc1");
  expect(Object.values(before.body.Chain.Targets)[0]?.SNI).toMatch(
    /^newer\.default\.dc1\.internal\.[0-9a-f-]{36}\.consul$/,
  );
  let isAnswered = false;
  const blocked = read(`/v1/discovery-chain/old?index=${before.index}&wait=20s`).finally(() => (isAnswered = true));
  await write({ Kind: "service-resolver", Name: "unrelated", ConnectTimeout: "3s" });
  await write({ Kind: "service-defaults", Name: "newest", Protocol: "tcp" });
  expect((await read("/v1/discovery-chain/old")).index).toBe(before.index);
  expect(isAnswered).toBe(false);
  // "newest" is part of the chain only from here on.
  await write({ Kind: "service-resolver", Name: "newer", Redirect: { Service: "newest" } });
  const moved = await blocked;
  expect(moved.body.Chain.StartNode).toBe("resolver:newest.default.dc1");
  const again = read(`/v1/discovery-chain/old?index=${moved.index}&wait=20s`);
  await write({ Kind: "service-resolver", Name: "newest", Failover: { "*": { Datacenters: ["dc2"] } } });
  expect(Object.keys((await again).body.Chain.Targets)).toEqual(["newest.default.dc1", "newest.default.dc2"]);
});

test("overrides come in a body, or as parameters where there is none: on the stream", async () => {
  await using mesh = await startBoth();
  const { catalog, write } = mesh;
  await write({ Kind: "proxy-defaults", Name: "global", Config: { protocol: "http" } });
  const body = { OverrideProtocol: "tcp", OverrideConnectTimeout: "9s" };
  const posted = await catalog.api.post<Answer>("/v1/discovery-chain/web", { body });
  expect(posted.body.Chain).toMatchObject({
    Protocol: "tcp",
    CustomizationHash: expect.stringMatching(/^[0-9a-f]{8}$/),
  });
  const stream = createStreamClient({ url: catalog.url, log: silentLog });
  const seen: string[] = [];
  const path = "/v1/discovery-chain/web?override-protocol=tcp&override-connect-timeout=9s";
  stream.subscribe<Answer>(path, {
    onAnswer: ({ body: { Chain } }) => void seen.push(`${Chain.CustomizationHash} ${Chain.StartNode}`),
  });
  await expect.poll(() => seen).toEqual([`${posted.body.Chain.CustomizationHash} resolver:web.default.dc1`]);
  await write({ Kind: "service-resolver", Name: "web", DefaultSubset: "v1", Subsets: { v1: {} } });
  await expect.poll(() => seen[1]).toMatch(/resolver:v1\.web\.default\.dc1$/);
  stream.close();
});
