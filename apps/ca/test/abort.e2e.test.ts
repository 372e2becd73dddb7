/** A rotation is aborted by its operator in each of its phases: before the switch nothing has changed, after it the root before signs again. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateKey, keyToPem } from "@heddle/tls";
import { expect, it, onTestFinished } from "vitest";
import { startVaultServer } from "../src/testing.ts";
import { startCa, type TestCa } from "./harness.ts";

const CA = "/v1/connect/ca";

interface Status {
  State: string;
  Rotation: { Phase: string; Followed: number | null; Because: string | null; Abortable: boolean } | null;
  LastAbortedAt: string | null;
}

const statusOf = async (ca: TestCa) => (await ca.ask("GET", `${CA}/status`)).json() as Status;
const phaseOf = async (ca: TestCa) => (await statusOf(ca)).Rotation?.Phase;
const abort = (ca: TestCa) => ca.ask("PUT", `${CA}/abort`);
const rootsOf = async (ca: TestCa) =>
  (await ca.ask("GET", `${CA}/roots`)).json() as { ActiveRootID: string; Roots: { ID: string; RootCert: string }[] };
const rotate = (ca: TestCa) =>
  ca.ask("PUT", `${CA}/configuration`, { Provider: "consul", Config: { PrivateKey: keyToPem(generateKey()) } });
/** As an agent of ten proxies tells, so many of which follow the active root. */
const report = async (ca: TestCa, share: number) => {
  const { ActiveRootID: root } = await rootsOf(ca);
  const body = { node: "n1", root, proxies: 10, trusting: share, leaves: 10, renewed: share };
  expect((await ca.ask("PUT", "/internal/v1/ca/progress", body)).status).toBe(200);
};

/** Asks for a root of a Vault that answers nothing, so that it is being prepared for as long as one likes. */
async function askSilentVault(ca: TestCa) {
  const vault = await startVaultServer();
  onTestFinished(() => vault[Symbol.asyncDispose]());
  const isAsked = vault.hang();
  const Config = {
    ...{ Address: vault.address, Token: vault.token },
    ...{ RootPKIPath: "root", IntermediatePKIPath: "intermediate" },
  };
  const answer = ca.ask("PUT", `${CA}/configuration`, { Provider: "vault", Config });
  await isAsked;
  return { answer };
}

/** A leaf, and openssl's word that it leads to each of the roots in the list. */
async function expectTrustedByAll(ca: TestCa): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "heddle-ca-abort-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  const leaf = (await ca.sign(await ca.requestFor("web"))).json() as { certPem: string; chainPem: string[] };
  const chain = leaf.chainPem.length > 0 ? ["-untrusted", file("chain.pem", leaf.chainPem.join(""))] : [];
  for (const { RootCert } of (await rootsOf(ca)).Roots) {
    const args = [
      "verify",
      "-x509_strict",
      "-CAfile",
      file("root.pem", RootCert),
      ...chain,
      file("leaf.pem", leaf.certPem),
    ];
    expect(execFileSync("openssl", args, { encoding: "utf8" })).toContain(": OK");
  }
}

it("while it is being prepared: whoever asked for it is told, and nothing has changed, a restart included", async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "heddle-ca-abort-"));
  onTestFinished(() => rmSync(dataDir, { recursive: true }));
  {
    await using ca = await startCa({ dataDir });
    const before = [(await ca.ask("GET", `${CA}/roots`)).text, (await ca.ask("GET", `${CA}/configuration`)).text];
    const asked = await askSilentVault(ca);
    expect(await statusOf(ca)).toMatchObject({ State: "rotating", Rotation: { Phase: "preparing", Abortable: true } });
    expect((await ca.sign(await ca.requestFor("web"))).status).toBe(200);

    const { status, text } = await abort(ca);
    expect([status, JSON.parse(text)]).toEqual([
      200,
      { Aborted: "preparing", ActiveRootID: (await rootsOf(ca)).ActiveRootID },
    ]);
    expect(await asked.answer).toMatchObject({
      status: 409,
      text: "the rotation was aborted while it was being prepared: nothing has changed",
    });
    const after = [(await ca.ask("GET", `${CA}/roots`)).text, (await ca.ask("GET", `${CA}/configuration`)).text];
    expect(after).toEqual(before);
    expect(await statusOf(ca)).toMatchObject({ State: "steady", Rotation: null, LastAbortedAt: expect.any(String) });
    expect(await abort(ca)).toMatchObject({ status: 409, text: expect.stringContaining("no rotation is under way") });
  }
  await using ca = await startCa({ dataDir });
  expect(await statusOf(ca)).toMatchObject({ State: "steady", Rotation: null, LastAbortedAt: expect.any(String) });
  // The next one is none of its business.
  expect((await rotate(ca)).status).toBe(200);
  expect(await statusOf(ca)).toMatchObject({ Rotation: { Phase: "following" }, LastAbortedAt: null });
});

it.each([
  ["followed by none that is heard of", undefined, "following"],
  ["followed by half", 5, "following"],
  ["followed by all", 10, "followed"],
] as const)("once it is switched and %s: the root before signs again", async (_how, share, phase) => {
  await using ca = await startCa();
  const first = (await rootsOf(ca)).ActiveRootID;
  expect((await rotate(ca)).status).toBe(200);
  if (share !== undefined) await report(ca, share);
  const { Rotation } = await statusOf(ca);
  expect(Rotation).toMatchObject({ Phase: phase, Followed: share === undefined ? null : share / 10, Abortable: true });

  const { status, text } = await abort(ca);
  expect([status, JSON.parse(text)]).toEqual([200, { Aborted: "switched", ActiveRootID: first }]);
  expect((await rootsOf(ca)).Roots).toHaveLength(2);
  await expectTrustedByAll(ca);
  expect((await statusOf(ca)).Rotation).toMatchObject({ Phase: "taken back", Because: "aborted", Abortable: false });
  expect(await abort(ca)).toMatchObject({ status: 409, text: "the rotation was taken back already" });
  expect((await rootsOf(ca)).ActiveRootID).toBe(first);
});

it("a rollback that is asked for is no rotation to abort, and there is none without a root before", async () => {
  await using ca = await startCa();
  expect(await abort(ca)).toMatchObject({ status: 409, text: expect.stringContaining("nothing to abort") });
  await rotate(ca);
  expect((await ca.ask("PUT", `${CA}/rollback`)).status).toBe(200);
  expect((await statusOf(ca)).Rotation).toMatchObject({ Phase: "taken back", Because: "asked for" });
  expect((await abort(ca)).status).toBe(409);
  expect(await phaseOf(ca)).toBe("taken back");
});

it("what comes after one that was aborted goes on", async () => {
  await using ca = await startCa();
  const first = (await rootsOf(ca)).ActiveRootID;
  const asked = await askSilentVault(ca);
  const next = rotate(ca); // waits for its turn
  expect((await abort(ca)).status).toBe(200);
  expect((await asked.answer).status).toBe(409);
  expect((await next).status).toBe(200);
  expect((await rootsOf(ca)).ActiveRootID).not.toBe(first);
  await expectTrustedByAll(ca);
});
