/** An agent that cannot start as it is told to says why, and ends with 1: no stack, and nothing left running. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort, ROOT, run, tempDir } from "./daemon.ts";

const dir = tempDir();
mkdirSync(join(dir, "config"));
writeFileSync(join(dir, "config/a.json"), '{\n  "datacentre": "dc1"\n}');
writeFileSync(join(dir, "file"), "");
const tcp = createServer();
const udp = createSocket("udp4");
beforeAll(async () => {
  await once(tcp.listen(0, "127.0.0.1"), "listening");
  await once(udp.bind(await freePort(), "127.0.0.1"), "listening");
});
afterAll(() => {
  tcp.close();
  udp.close();
});
const busy = () => String((tcp.address() as AddressInfo).port);
const busyUdp = () => String(udp.address().port);
const inUse = (port: string, protocol = "tcp") =>
  `cannot listen on 127.0.0.1:${port} (${protocol}): the port is in use by `;

const DEV = ["-dev"];
const SERVER = ["-server", "-bootstrap-expect=1", "-bind=127.0.0.1"];
test.each<[what: string, flags: () => string[], says: () => string]>([
  [
    "no place for the data",
    () => [...SERVER, "-data-dir=/proc/nosuch/a"],
    () => "cannot write the data directory /proc/nosuch/a: ",
  ],
  ["none in -dev", () => [...DEV, "-data-dir=/proc/nosuch"], () => "cannot write the data directory /proc/nosuch: "],
  [
    "none on a node without servers",
    () => ["-data-dir=/proc/nosuch", "-retry-join=127.0.0.1"],
    () => "cannot write the data",
  ],
  [
    "a file for a directory",
    () => [...SERVER, `-data-dir=${dir}/file`],
    () => `directory ${dir}/file: it is a file, or below one`,
  ],
  ["no directory at all", () => SERVER, () => "data_dir: not given: want the directory"],
  ["no configuration there", () => [...DEV, `-config-dir=${dir}/none`], () => `${dir}/none: cannot be read: ENOENT`],
  ["no such file", () => [...DEV, `-config-file=${dir}/a.hcl`], () => `${dir}/a.hcl: cannot be read: ENOENT`],
  [
    "an unknown key",
    () => [...DEV, `-config-dir=${dir}/config`],
    () => "a.json:2:3: unknown key 'datacentre': did you mean 'datacenter'?",
  ],
  ["an unknown flag", () => [...DEV, "-datacentre=x"], () => "unknown flag -datacentre: did you mean -datacenter?"],
  ["no such address here", () => [...DEV, "-bind=192.0.2.1"], () => "cannot listen on 192.0.2.1:"],
  ["no such address for clients", () => [...DEV, "-client=192.0.2.1"], () => "this machine has no such address"],
  ["no address at all", () => [...DEV, "-bind=here"], () => "bind_addr: invalid value 'here': want an IP address"],
  ["a busy HTTP port", () => [...DEV, `-http-port=${busy()}`], () => inUse(busy())],
  ["a busy server port", () => [...DEV, `-server-port=${busy()}`], () => inUse(busy())],
  ["a busy DNS port", () => [...DEV, `-dns-port=${busy()}`], () => inUse(busy())],
  ["a busy DNS port over UDP", () => [...DEV, `-dns-port=${busyUdp()}`], () => inUse(busyUdp(), "udp")],
  [
    "a pid file that cannot be",
    () => [...DEV, "-pid-file=/proc/nosuch/pid"],
    () => "cannot write the pid file /proc/nosuch/pid: ENOENT",
  ],
  [
    "a log that cannot be",
    () => [...DEV, "-log-file=/proc/nosuch/log"],
    () => "cannot write the log file /proc/nosuch/log: ENOENT",
  ],
])("%s", async (_what, flags, says) => {
  const free = [`-http-port=${await freePort()}`, `-dns-port=${await freePort()}`, `-server-port=${await freePort()}`];
  const agent = run(join(ROOT, "heddle"), ["agent", "-log-level=warn", ...free, ...flags()]);
  expect(await agent.exited, agent.output()).toEqual([1, null]);
  expect(agent.output()).toContain(says());
  expect(agent.output()).not.toMatch(/^\s+at /m);
});
