import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { adoptListeners, listenOn } from "./adopt.ts";
import { descriptorOf, type Offered, offerListeners } from "./offer.ts";

async function listening(server: Server, at: { path: string } | { port: number; host: string }): Promise<void> {
  server.listen(at);
  await once(server, "listening");
  onTestFinished(() => void server.close());
}

/** An admin socket, of a process that offers what it is told, or of one that knows of no such thing. */
async function startAdmin(offered?: Offered[]): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), "heddle-adopt-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const path = join(dir, "admin.sock");
  const admin = createHttpServer((_req, res) => void res.writeHead(404).end("null"));
  if (offered) admin.on("upgrade", (_req, socket: Socket) => void offerListeners(socket, offered));
  onTestFinished(() => admin.closeAllConnections());
  await listening(admin, { path });
  return path;
}

test("a socket that was handed over serves on when who made it has closed it, with what waits in its queue", async () => {
  const old = createServer({ pauseOnConnect: true });
  await listening(old, { port: 0, host: "127.0.0.1" });
  const { port } = old.address() as AddressInfo;
  const at = `127.0.0.1:${port}`;
  const adopted = await adoptListeners(await startAdmin([{ at, fd: descriptorOf(old) ?? -1 }]));
  expect(adopted.size).toBe(1);
  expect(adopted.take("127.0.0.1:1")).toEqual([]);
  const [handle] = adopted.take(at);
  if (!handle) throw new Error("nothing was handed over");
  old.close();
  // Nobody accepts now, and nobody is refused.
  const client = connect(port, "127.0.0.1");
  await once(client, "connect");
  const fresh = createServer((socket) => void socket.end("from the new one"));
  listenOn(fresh, handle, 16);
  await once(fresh, "listening");
  onTestFinished(() => void fresh.close());
  expect(fresh.address()).toMatchObject({ port });
  const [text] = (await once(client, "data")) as [Buffer];
  expect(text.toString()).toBe("from the new one");
});

test("no more than 64 of one place are taken, and the rest is closed", async () => {
  const servers = Array.from({ length: 66 }, () => createServer());
  for (const server of servers) await listening(server, { port: 0, host: "127.0.0.1" });
  const offered = servers.map((server) => ({ at: "here", fd: descriptorOf(server) ?? -1 }));
  const adopted = await adoptListeners(await startAdmin(offered));
  expect(adopted.size).toBe(64);
  adopted.close();
  expect(adopted.size).toBe(0);
  expect(servers.every(({ listening: isListening }) => isListening)).toBe(true);
});

test("of who offers nothing, or is not there, there is nothing", async () => {
  for (const path of [await startAdmin(), await startAdmin([]), "/nowhere/admin.sock"])
    expect((await adoptListeners(path)).size).toBe(0);
});
