import { systemClock } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { connect } from "node:net";
import { expect, test } from "vitest";
import { freePort, tcpServer, testContext } from "../testing.ts";
import { probe } from "./tcp.ts";

test("a listener is enough", async () => {
  await using server = await tcpServer();
  expect(await probe({ CheckID: "c", TCP: server.address }, testContext())).toEqual({
    status: "passing",
    output: `TCP connect ${server.address}: Success`,
  });
});

test("nobody listens", async () => {
  const port = await freePort();
  expect(await probe({ CheckID: "c", TCP: `127.0.0.1:${port}` }, testContext())).toEqual({
    status: "critical",
    output: `dial tcp 127.0.0.1:${port}: connect: connection refused`,
  });
});

// Texts of Consul 1.8.7; where Go names the resolver's address or a port's service, ours is shorter.
test.each([
  ["127.0.0.1", "dial tcp: address 127.0.0.1: missing port in address"],
  ["[::1]", "dial tcp: address [::1]: missing port in address"],
  ["::1:80", "dial tcp: address ::1:80: too many colons in address"],
  ["127.0.0.1:99999", "dial tcp: address 99999: invalid port"],
  ["127.0.0.1:nope", "dial tcp: lookup tcp/nope: unknown port"],
  ["no-such-host.invalid:80", "dial tcp: lookup no-such-host.invalid: no such host"],
  ["[::1]:1", "dial tcp [::1]:1: connect: connection refused"],
])("%s", async (target, output) => {
  expect(await probe({ CheckID: "c", TCP: target }, testContext())).toEqual({ status: "critical", output });
});

test("a full backlog is a timeout, after 10 s where the check gives none", async () => {
  // A listener that never accepts, in a process of its own that is stopped: its backlog fills up.
  const { spawn } = await import("node:child_process");
  const child = spawn("python3", [
    "-c",
    "import socket,time;s=socket.socket();s.bind(('127.0.0.1',0));s.listen(0);print(s.getsockname()[1],flush=True);time.sleep(60)",
  ]);
  try {
    const port = Number(await new Promise((resolve) => child.stdout.once("data", resolve)));
    const fillers = Array.from({ length: 4 }, () => connect(port, "127.0.0.1").on("error", () => {}));
    await new Promise((resolve) => fillers[0]?.once("connect", resolve));
    const clock = new ManualClock();
    let result: unknown;
    const running = probe({ CheckID: "c", TCP: `127.0.0.1:${port}` }, testContext({ clock })).then((r) => (result = r));
    clock.advance(9_999);
    await new Promise((resolve) => systemClock.after(50, () => resolve(undefined)));
    expect(result).toBeUndefined();
    clock.advance(1);
    await running;
    expect(result).toEqual({ status: "critical", output: `dial tcp 127.0.0.1:${port}: i/o timeout` });
    for (const filler of fillers) filler.destroy();
  } finally {
    child.kill("SIGKILL");
  }
});
