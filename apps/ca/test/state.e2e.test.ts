import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "@heddle/daemon";
import { openStore } from "@heddle/store";
import { createCsr, generateKey, keyToPem } from "@heddle/tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadConfig } from "../src/index.ts";
import { startCa, type TestCa } from "./harness.ts";

let dataDir: string;
const children: ChildProcess[] = [];
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "heddle-ca-"));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(dataDir, { recursive: true, force: true });
});

/** The daemon as a process of its own. */
function spawnCa(...args: string[]): ChildProcess {
  const child = spawn(
    process.execPath,
    [join(import.meta.dirname, "../src/main.ts"), "-port=0", `-data-dir=${dataDir}`, "-csr-max-per-second=0", ...args],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  children.push(child);
  return child;
}

/** Resolves with the address once it serves; its output is read to the end. */
function addressOf(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      if (text.length < 10_000) text += chunk.toString();
      const [, url] = /CA is serving: address=(\S+)/.exec(text) ?? [];
      if (url) resolve(url);
    });
    child.once("exit", () => reject(new Error(`the CA ended without serving: ${text}`)));
  });
}

describe("what the CA keeps", () => {
  it("is the same after a restart: cluster, root, configuration, indexes", async () => {
    const read = async () => {
      await using ca = await startCa({ dataDir });
      return [
        (await ca.ask("GET", "/v1/connect/ca/roots")).text,
        (await ca.ask("GET", "/v1/connect/ca/configuration")).text,
      ];
    };
    const first = await read();
    await using ca = await startCa({ dataDir });
    await ca.ask("PUT", "/v1/connect/ca/configuration", { Provider: "consul", Config: { LeafCertTTL: "2h" } });
    await ca.close();
    const second = await read();
    expect(second[0]).toBe(first[0]);
    expect(JSON.parse(second[1] as string).Config).toEqual({ LeafCertTTL: "2h" });
  });

  it("is readable by its owner alone", async () => {
    await using _ca = await startCa({ dataDir });
    expect(statSync(join(dataDir, "ca.db")).mode & 0o077).toBe(0);
  });

  it("has a cluster id and settings of its founder's choice, from the first start only", async () => {
    const clusterId = "AAAAAAAA-bbbb-cccc-dddd-eeeeeeeeeeee";
    {
      await using ca = await startCa({ dataDir, clusterId, leafCertTtl: "5h" });
      expect(await ca.trustDomain()).toBe(`${clusterId.toLowerCase()}.consul`);
    }
    await using ca = await startCa({ dataDir, clusterId: "11111111-2222-3333-4444-555555555555", leafCertTtl: "9h" });
    expect(await ca.trustDomain()).toBe(`${clusterId.toLowerCase()}.consul`);
    expect((await ca.ask("GET", "/v1/connect/ca/configuration")).json().Config.LeafCertTTL).toBe("5h");
  });

  it("is not founded on a bad setting", async () => {
    await expect(startCa({ dataDir, clusterId: "mine" })).rejects.toThrow("want a UUID");
    await expect(startCa({ dataDir, leafCertTtl: "1m" })).rejects.toThrow("leaf cert TTL must be greater");
    await using ca = await startCa({ dataDir });
    expect((await ca.ask("GET", "/v1/connect/ca/roots")).json().Roots).toHaveLength(1);
  });

  it("belongs to one daemon at a time", async () => {
    await using ca = await startCa({ dataDir });
    await expect(startCa({ dataDir })).rejects.toThrow(/in use/);
    expect((await ca.sign(await ca.requestFor("web"))).status).toBe(200);
  });

  it("is refused where it does not fit together, saying what is wrong", async () => {
    await (await startCa({ dataDir })).close();
    const store = await openStore({ dataDir, name: "ca", log: silentLog });
    const [key] = store.list("ca-keys");
    await store.run(() => ({ writes: [{ table: "ca-keys", key: key?.key as string }], result: undefined }));
    await store.close();
    await expect(startCa({ dataDir })).rejects.toThrow(/holds no key for its active root/);
  });

  it("is not touched where the directory cannot be written", async () => {
    if (process.getuid?.() === 0) return; // root writes anywhere
    chmodSync(dataDir, 0o500);
    await expect(startCa({ dataDir })).rejects.toThrow();
  });
});

describe("killed with SIGKILL", () => {
  it("during its first start, it has one active root or none, and one for ever after", async () => {
    const roots = new Set<string>();
    for (const delayMs of [0, 60, 90, 120, 150, 180, 210, 240, 300]) {
      const child = spawnCa();
      const serving = addressOf(child).catch(() => "");
      await Promise.race([serving, new Promise((resolve) => setTimeout(resolve, delayMs))]);
      child.kill("SIGKILL");
      await once(child, "exit");
      const store = await openStore({ dataDir, name: "ca", log: silentLog });
      const ids = store.list("ca-roots").map((r) => r.key);
      expect(ids.length).toBe(store.list("ca-keys").length);
      expect(ids.length).toBe(store.list("ca-config").length);
      for (const id of ids) roots.add(id);
      await store.close();
    }
    await using ca = await startCa({ dataDir });
    const { ActiveRootID } = (await ca.ask("GET", "/v1/connect/ca/roots")).json();
    expect([...roots].every((id) => id === ActiveRootID)).toBe(true);
  });

  it("under load, it comes back with the same root and never the same serial", async () => {
    const serials: string[] = [];
    let rootId: string | undefined;
    for (let round = 0; round < 4; round++) {
      const child = spawnCa("-log-level=info");
      const url = await addressOf(child);
      const trusted = (await (await fetch(`${url}/v1/connect/ca/roots`)).json()) as {
        ActiveRootID: string;
        TrustDomain: string;
      };
      rootId ??= trusted.ActiveRootID;
      expect(trusted.ActiveRootID).toBe(rootId);
      const csr = createCsr({
        key: generateKey(),
        spiffeId: `spiffe://${trusted.TrustDomain}/ns/default/dc/dc1/svc/web`,
      });
      const signOn = async () => {
        for (;;) {
          const res = await fetch(`${url}/internal/v1/ca/sign`, { method: "POST", body: JSON.stringify({ csr }) });
          serials.push(((await res.json()) as { serial: string }).serial);
        }
      };
      const load = Promise.allSettled([signOn(), signOn(), signOn(), signOn()]);
      const count = serials.length;
      await expect.poll(() => serials.length, { interval: 5, timeout: 10_000 }).toBeGreaterThan(count + 50);
      child.kill("SIGKILL");
      await load;
    }
    expect(new Set(serials).size).toBe(serials.length);
  });
});

describe("killed with SIGKILL in a rotation", () => {
  it("it has the old root or the new one, each with its key, and signs when it is back", async () => {
    for (let round = 0; round < 8; round++) {
      const child = spawnCa();
      const url = await addressOf(child);
      const Config = { PrivateKey: keyToPem(generateKey()) };
      const put = fetch(`${url}/v1/connect/ca/configuration`, {
        method: "PUT",
        body: JSON.stringify({ Provider: "consul", Config }),
      }).catch(() => {});
      await Promise.race([put, new Promise((resolve) => setTimeout(resolve, round * 12))]);
      child.kill("SIGKILL");
      await Promise.all([once(child, "exit"), put]);
      const store = await openStore({ dataDir, name: "ca", log: silentLog });
      const roots = store.list<{ isActive: boolean }>("ca-roots");
      expect(roots.filter((record) => record.value.isActive)).toHaveLength(1);
      expect(store.list("ca-keys").map((record) => record.key)).toEqual(roots.map((record) => record.key));
      await store.close();
    }
    await using ca = await startCa({ dataDir });
    expect((await ca.sign(await ca.requestFor("web"))).status).toBe(200);
  });
});

describe("asked to end with SIGTERM", () => {
  it("exits with 0 within five seconds", async () => {
    const child = spawnCa();
    await addressOf(child);
    const startedAt = performance.now();
    child.kill("SIGTERM");
    const [code] = (await once(child, "exit")) as [number];
    expect(code).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });
});

describe("keys encrypted on disk", () => {
  const keyFile = (name: string): string => {
    const path = join(dataDir, name);
    writeFileSync(path, `${randomBytes(32).toString("base64")}\n`, { mode: 0o600 });
    return path;
  };
  const encrypted = (...places: string[]) =>
    loadConfig({
      argv: [`-encryption-key=${places.join(",")}`],
      env: { CA_KEY: "ab".repeat(32), SHORT: "abcd" },
      readFile: (path) => readFileSync(path, "utf8"),
    });
  const storedKeys = async () => {
    const store = await openStore({ dataDir, name: "ca", log: silentLog });
    const keys = store.list<{ keyPem?: string; sealed?: string }>("ca-keys").map((record) => record.value);
    await store.close();
    return keys;
  };
  const rootOf = async (ca: TestCa) => (await ca.ask("GET", "/v1/connect/ca/roots")).json().ActiveRootID as string;
  const open = (...places: string[]) => startCa({ dataDir, encryptionKeys: encrypted(...places).encryptionKeys });

  it("are never there in plain, from the first start on and after a rotation", async () => {
    const file = `file:${keyFile("a")}`;
    {
      await using ca = await open(file);
      const Config = { PrivateKeyBits: 384 };
      await ca.ask("PUT", "/v1/connect/ca/configuration", { Provider: "consul", Config });
    }
    expect(await storedKeys()).toEqual([1, 2].map(() => expect.objectContaining({ sealed: expect.any(String) })));
    for (const name of ["ca.db", "ca.db-wal"])
      if (existsSync(join(dataDir, name)))
        expect(readFileSync(join(dataDir, name)).includes("PRIVATE KEY")).toBe(false);
    await using ca = await open(file);
    expect((await ca.sign(await ca.requestFor("web"))).status).toBe(200);
  });

  it("are encrypted at the next start where they were not, and anew with another key", async () => {
    let root: string;
    {
      await using ca = await startCa({ dataDir });
      root = await rootOf(ca);
    }
    expect(await storedKeys()).toEqual([{ keyPem: expect.stringContaining("PRIVATE KEY") }]);
    const [first, second] = [`file:${keyFile("a")}`, `file:${keyFile("b")}`];
    for (const places of [[first], [second, first], [second], ["env:CA_KEY", second], ["env:CA_KEY"]]) {
      await using ca = await open(...places);
      expect(await rootOf(ca)).toBe(root);
    }
    expect(await storedKeys()).toEqual([{ sealed: expect.stringMatching(/^1:/) }]);
  });

  it("are refused with the wrong key, with none, and where they were changed; nothing is founded anew", async () => {
    await (await open(`file:${keyFile("a")}`)).close();
    await expect(open(`file:${keyFile("b")}`)).rejects.toThrow(/encrypted with another key than any that was given/);
    await expect(startCa({ dataDir })).rejects.toThrow(/is encrypted: give what it was encrypted with/);
    const store = await openStore({ dataDir, name: "ca", log: silentLog });
    const [record] = store.list<{ sealed: string }>("ca-keys");
    const sealed = `${record?.value.sealed.slice(0, -8)}AAAAAAA=`;
    await store.run(() => ({ writes: [{ table: "ca-keys", key: record?.key ?? "", value: { sealed } }], result: 0 }));
    await store.close();
    await expect(open(`file:${join(dataDir, "a")}`)).rejects.toThrow(/encrypted with another key/);
  });

  it.each([
    ["env:NOT_THERE", "the variable NOT_THERE is not set"],
    ["env:SHORT", "env:SHORT holds no key: want 32 bytes"],
    ["file:/nowhere/key", "cannot read /nowhere/key"],
    ["q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4k=", "value 1 is no place: want 'file:PATH' or 'env:NAME'"],
  ])("are not asked for at %s, and no message repeats a key", (place, why) => {
    expect(() => encrypted(place)).toThrow(why);
    expect(() => encrypted(place)).not.toThrow(/q83v|abcd/);
  });
});
