import { once } from "node:events";
import { createServer } from "node:net";
import { silentLog } from "@heddle/daemon";
import { openStore, type Store } from "@heddle/store";
import { expect, test } from "vitest";
import { SidecarPorts } from "./sidecar-ports.ts";

const memory = () => openStore({ dataDir: "", name: "agent", log: silentLog });

/** Ports that are free at least now: above the ephemeral range's start, asked of the kernel. */
async function freeRange(length: number): Promise<number> {
  for (;;) {
    const first = createServer().listen(0, "0.0.0.0");
    const servers = [first];
    await once(first, "listening");
    const base = (first.address() as { port: number }).port;
    let isFree = base + length < 65_535;
    for (let i = 1; isFree && i < length; i++) {
      const server = createServer();
      servers.push(server);
      isFree = await new Promise((resolve) =>
        server.once("error", () => resolve(false)).listen(base + i, "0.0.0.0", () => resolve(true)),
      );
    }
    for (const server of servers) server.close();
    if (isFree) return base;
  }
}

const portsOf = (store: Store, min: number, max: number, claimed = new Map<number, string>()) =>
  new SidecarPorts({ store, min, max, claimed: () => claimed });

test("sidecars registered at once get different ports, in the order they asked", async () => {
  await using store = await memory();
  const base = await freeRange(4);
  const ports = portsOf(store, base, base + 3);
  expect(await Promise.all(["a", "b", "c"].map((id) => ports.reserve(id)))).toEqual([base, base + 1, base + 2]);
});

test("a sidecar keeps its port, whatever was registered before or between", async () => {
  await using store = await memory();
  const base = await freeRange(4);
  await portsOf(store, base, base + 3).reserve("first");
  const mine = await portsOf(store, base, base + 3).reserve("mine");
  expect(await portsOf(store, base, base + 3).reserve("mine")).toBe(mine);
});

test("a port that somebody listens on is passed over", async () => {
  await using store = await memory();
  const base = await freeRange(2);
  const holder = createServer().listen(base, "0.0.0.0");
  await once(holder, "listening");
  expect(await portsOf(store, base, base + 1).reserve("a")).toBe(base + 1);
  holder.close();
});

test("when the range is used up, the port of a sidecar that is gone is taken over; else the refusal names the range", async () => {
  await using store = await memory();
  const base = await freeRange(1);
  const claimed = new Map<number, string>();
  const ports = portsOf(store, base, base, claimed);
  await ports.reserve("gone");
  expect(await ports.reserve("next")).toBe(base);
  claimed.set(base, "next");
  await expect(ports.reserve("third")).rejects.toThrow(`all of ${base}-${base} are given`);
});

test("a port chosen by hand that another sidecar has is refused with its holder", async () => {
  await using store = await memory();
  const ports = portsOf(store, 21_000, 21_255, new Map([[22_001, "api-sidecar-proxy"]]));
  expect(() => ports.refuseTaken("web-sidecar-proxy", 22_001)).toThrow("taken by api-sidecar-proxy");
  expect(() => ports.refuseTaken("api-sidecar-proxy", 22_001)).not.toThrow();
});
