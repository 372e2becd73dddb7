import { spawn } from "node:child_process";
import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { isSameUser } from "./peer-user.ts";
import { tcpServer } from "./testing.ts";

const CONNECT =
  "const s=require('node:net').connect(+process.argv[1],'127.0.0.1');s.on('error',()=>{});setTimeout(()=>process.exit(),10000)";

/** A connection from a process of the given user, as the server sees it. */
async function connectionOf(uid: number | undefined, check: (socket: Socket) => void): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<Socket>();
  await using server = await tcpServer(resolve);
  const child = spawn(process.execPath, ["-e", CONNECT, String(server.port)], {
    ...(uid !== undefined && { uid, gid: uid }),
    env: {},
    cwd: "/",
  });
  try {
    check(await promise);
  } finally {
    child.kill("SIGKILL");
  }
}

test("a process of this user", async () => {
  await connectionOf(undefined, (socket) => expect(isSameUser(socket)).toBe(true));
});

test.runIf(process.getuid?.() === 0)("a process of another user is none of ours", async () => {
  await connectionOf(65_534, (socket) => expect(isSameUser(socket)).toBe(false));
});

test("a connection that is gone", async () => {
  let seen: Socket | undefined;
  await connectionOf(undefined, (socket) => (seen = socket));
  expect(isSameUser(seen as Socket)).toBe(false);
});
