import { mkdtempSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { testContext } from "../testing.ts";
import { probe } from "./docker.ts";

/** A small engine on a Unix socket: what it does depends on the container's name. */
const asked: { method: string; url: string; body: string }[] = [];
async function engine(req: IncomingMessage, res: ServerResponse): Promise<void> {
  let body = "";
  for await (const chunk of req as AsyncIterable<Buffer>) body += chunk.toString("utf8");
  asked.push({ method: req.method ?? "", url: req.url ?? "", body });
  const json = (code: number, value: unknown) =>
    res
      .writeHead(code, { "Content-Type": "application/json" })
      .end(typeof value === "string" ? value : JSON.stringify(value));
  const [, kind, name = "", verb] = (req.url ?? "").split("/");
  if (kind === "containers") {
    if (name === "gone") return void json(404, { message: "No such container" });
    if (name === "paused") return void json(409, {});
    if (name === "broken") return void json(500, "boom");
    return void json(201, { Id: name === "noid" ? "../x" : `e-${name}` });
  }
  if (verb === "json") return void json(200, { ExitCode: name === "e-warn" ? 1 : name === "e-bad" ? 2 : 0 });
  if (name === "e-hang") return;
  if (name === "e-frames") {
    const part = (stream: number, text: string) =>
      Buffer.concat([Buffer.from([stream, 0, 0, 0, 0, 0, 0, text.length]), Buffer.from(text)]);
    res.writeHead(200, { "Content-Type": "application/vnd.docker.multiplexed-stream" });
    const all = Buffer.concat([part(1, "out "), part(2, "err")]);
    res.write(all.subarray(0, 3));
    return void setImmediate(() => res.end(all.subarray(3)));
  }
  res
    .writeHead(200, { "Content-Type": "application/vnd.docker.raw-stream" })
    .end(name === "e-big" ? "y".repeat(9_000) : `out of ${name}\r\n`);
}

const path = join(mkdtempSync(join(tmpdir(), "heddle-docker-")), "docker.sock");
const server = createServer((req, res) => void engine(req, res));
beforeAll(() => new Promise<void>((resolve) => void server.listen(path, resolve)));
afterAll(() => void server.close());

const run = (DockerContainerID: string, dockerHost = `unix://${path}`) =>
  probe({ CheckID: "c", DockerContainerID, Args: ["/bin/check", "a b"], TimeoutMs: 300 }, testContext({ dockerHost }));

// Texts of Consul 1.8.7 against the same engine.
test.each([
  ["ok", "passing", "out of e-ok\r\n"],
  ["warn", "warning", "out of e-warn\r\n"],
  ["bad", "critical", "out of e-bad\r\n"],
  ["big", "passing", `Captured 4096 of 9000 bytes\n...\n${"y".repeat(4_096)}`],
  ["gone", "critical", "create exec failed for unknown container gone"],
  ["paused", "critical", "create exec failed since container paused is paused or stopped"],
  ["broken", "critical", "create exec failed for container broken with status 500: boom"],
  ["noid", "critical", "create exec response for container noid has no exec id"],
  ["frames", "passing", "out err"],
  ["hang", "critical", "start exec failed for container hang: context deadline exceeded"],
])("%s", async (container, status, output) => {
  expect(await run(container)).toEqual({ status, output });
});

test("the program goes to the engine as a list, without a shell, and a container's name cannot leave its place", async () => {
  asked.length = 0;
  await run("a/../b");
  expect(asked[0]).toMatchObject({ method: "POST", url: "/containers/a%2F..%2Fb/exec" });
  expect(JSON.parse(asked[0]?.body ?? "")).toMatchObject({ Cmd: ["/bin/check", "a b"], AttachStdin: false });
});

test("no engine", async () => {
  expect((await run("ok", "unix:///nonexistent/docker.sock")).output).toBe(
    "create exec failed for container ok: dial unix unix:///nonexistent/docker.sock: connect: no such file or directory",
  );
  expect((await run("ok", "nonsense")).output).toBe("unable to parse docker host `nonsense`");
});
