/** CA-10: the internal ports of the daemons, off loopback, and callers that hold connections open or promise too much. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { connect as connectTls } from "node:tls";
import { beforeAll, describe, expect, test } from "vitest";
import {
  askWith,
  type AskAsOptions,
  certificateFiles,
  identityOf,
  makeCertificates,
  WEBSOCKET,
} from "./certificates.ts";
import { type Daemon, freePort, serve, tempDir, until } from "./daemon.ts";
import { percentile, raw } from "./tcp.ts";

const DIR = tempDir();
const files = (role: string) => certificateFiles(DIR, role);
const askAs = (port: number, role: string, options: AskAsOptions) => askWith(DIR, port, role, options);
/** The CA asks it what runs on a node, and here nothing is asked. */
const NO_CATALOG = "-catalog-url=https://127.0.0.1:1";

/** A WebSocket by hand, on which these bytes are sent; resolves with the code of the frame that closes it. */
async function openStreamAs(role: string, port: number, path: string, bytes: Buffer) {
  const socket = connectTls({ host: "127.0.0.1", port, ...identityOf(DIR, role) });
  const chunks: Buffer[] = [];
  socket.on("error", () => {}).on("data", (chunk: Buffer) => chunks.push(chunk));
  const headers = Object.entries(WEBSOCKET).map(([key, value]) => `${key}: ${value}\r\n`);
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n${headers.join("")}\r\n`);
  await until(
    async () => Buffer.concat(chunks).toString("latin1"),
    (text) => text.startsWith("HTTP/1.1 101"),
  );
  const close = once(socket, "close").then(() => {
    const all = Buffer.concat(chunks);
    const body = all.subarray(all.indexOf("\r\n\r\n") + 4);
    const frame = body.subarray(body.indexOf(0x88));
    return frame.length >= 4 ? frame.readUInt16BE(2) : 0;
  });
  socket.write(bytes);
  return { close };
}

describe("CA-10: the internal port of each daemon", () => {
  const HALF = Number(process.env.HEDDLE_SOAK_HALF_HANDSHAKES ?? 300);
  const daemons: Daemon[] = [];
  beforeAll(async () => {
    await makeCertificates(DIR);
    for (const name of ["catalog", "ca", "health"]) {
      const more = name === "ca" ? [NO_CATALOG] : [];
      daemons.push(await serve(name, await freePort(), "-host=0.0.0.0", ...files(name), ...more));
    }
  });

  test("drops handshakes that do not go on, and answers others meanwhile", { timeout: 60_000 }, async () => {
    /** Asks them all until `isOver`, at least 150 times; each has to be answered. */
    const waits = async (isOver: Promise<unknown>): Promise<string> => {
      const [ca, cert, key] = files("agent").map((flag) => flag.replace(/^[^=]*=/, ""));
      const ports = daemons.map(({ port }) => String(port));
      const script = join(import.meta.dirname, "ask-loop.ts");
      const asking = spawn(process.execPath, [script, ca ?? "", cert ?? "", key ?? "", ...ports]);
      const told = Promise.all([text(asking.stdout), text(asking.stderr)]);
      await isOver;
      asking.stdin.end();
      const [out, err] = await told;
      expect(err).toBe("");
      const sorted = (JSON.parse(out) as number[]).toSorted((a, b) => a - b);
      return `p50 ${percentile(sorted, 50).toFixed(1)} ms, p99 ${percentile(sorted, 99).toFixed(1)} ms of ${sorted.length}`;
    };
    const before = await waits(Promise.resolve());
    const HELLO = Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]); // the head of one, of 512 bytes
    const half = await Promise.all(
      daemons.flatMap(({ port }) =>
        Array.from({ length: HALF }, (_, i) => raw(port, i % 2 ? HELLO : "", `127.0.0.${9 + (i % 8)}`)),
      ),
    );
    const openedAt = performance.now();
    const allEnded = Promise.all(half.map((client) => client.ended));
    const [meanwhile, ended] = await Promise.all([waits(allEnded), allEnded]);
    const seconds = ((performance.now() - openedAt) / 1_000).toFixed(1);
    console.log(
      `${half.length} dropped within ${seconds} s; a new connection and its answer: ${before} before, ${meanwhile} meanwhile`,
    );
    expect(ended.map(({ text }) => text.replace(/^\x15[^]*/, ""))).toEqual(ended.map(() => "")); // an alert at most
    for (const { port } of daemons) expect((await askAs(port, "agent", { path: "/healthz" })).status).toBe(200);
  });

  test.each([
    ["catalog", "dns", "/v1/stream", 0],
    ["health", "agent", "/internal/v1/checks", 2],
  ])(
    "closes a stream whose frame says that 64 MiB come, without room for them: the %s",
    async (_name, role, path, at) => {
      const daemon = daemons[at] as Daemon;
      const rss = () =>
        Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${daemon.child.pid}/status`, "utf8"))?.[1]) / 1_024;
      const before = rss();
      const frame = Buffer.alloc(14);
      frame.writeUInt16BE(0x82ff); // a last frame of bytes, masked, its length in eight bytes
      frame.writeBigUInt64BE(64n << 20n, 2);
      for (let i = 0; i < 20; i++) {
        const { close } = await openStreamAs(role, daemon.port, path, frame);
        expect(await close).toBe(1009);
      }
      expect(rss() - before).toBeLessThan(64); // one of the twenty
      expect((await askAs(daemon.port, "agent", { path: "/healthz" })).status).toBe(200);
    },
  );

  test("ends with 0", async () => {
    for (const daemon of daemons) expect(await daemon.end()).toEqual([0, null]);
  });
});
