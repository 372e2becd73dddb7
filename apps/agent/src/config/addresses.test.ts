import type { NetworkInterfaceInfo } from "node:os";
import { describe, expect, it } from "vitest";
import { expandTemplate, hostAddress, type Network, parseAddresses } from "./addresses.ts";

const address = (text: string, internal = false): NetworkInterfaceInfo => ({
  address: text,
  ...(text.includes(":") ? { family: "IPv6" as const, scopeid: 0 } : { family: "IPv4" as const }),
  internal,
  netmask: "255.255.255.0",
  mac: "00:00:00:00:00:00",
  cidr: null,
});
const network = (interfaces: Record<string, NetworkInterfaceInfo[]>, route?: string): Network => ({
  interfaces: () => interfaces,
  defaultInterface: () => route,
});
const lo = [address("127.0.0.1", true)];

describe("hostAddress", () => {
  it.each<[string, Network, string]>([
    [
      "the default route's",
      network({ lo, docker0: [address("172.17.0.1")], eth0: [address("10.0.0.5")] }, "eth0"),
      "10.0.0.5",
    ],
    [
      "a private one, where there is no route",
      network({ lo, a: [address("203.0.113.1")], b: [address("192.168.1.2")], c: [address("10.0.0.1")] }),
      "192.168.1.2",
    ],
    ["a public one, where there is no other", network({ lo, a: [address("203.0.113.1")] }), "203.0.113.1"],
    ["never a link-local one", network({ lo, a: [address("169.254.1.1")], b: [address("10.0.0.1")] }, "a"), "10.0.0.1"],
    [
      "one of IPv6, where there is none of IPv4",
      network({ lo, a: [address("fe80::1"), address("2001:db8::1"), address("fd00::1")] }),
      "fd00::1",
    ],
    [
      "one of IPv4, where there are both",
      network({ lo, a: [address("fd00::1"), address("10.0.0.1")] }, "a"),
      "10.0.0.1",
    ],
    ["loopback, where there is nothing else", network({ lo }), "127.0.0.1"],
  ])("is %s", (_, host, expected) => expect(hostAddress(host)).toBe(expected));
});

describe("expandTemplate", () => {
  const host = network({ lo, eth0: [address("10.0.0.5")], eth1: [address("203.0.113.1")] });
  it.each([
    ["{{ GetPrivateIP }}", "10.0.0.5"],
    ["{{GetPublicIP}}", "203.0.113.1"],
    ['{{ GetInterfaceIP "eth1" }} {{ GetInterfaceIP "lo" }}', "203.0.113.1 127.0.0.1"],
    ["10.1.1.1", "10.1.1.1"],
  ])("%s is %s", (text, expected) => expect(expandTemplate(text, host)).toBe(expected));

  it.each([
    ["{{ GetPrivateIP }}", "fd00::2"],
    ["{{ GetPublicIP }}", "203.0.113.1"],
    ['{{ GetInterfaceIP "eth1" }}', "2001:db8::1"],
  ])("%s is %s on a host of both families", (text, expected) => {
    const both = network({ eth0: [address("203.0.113.1"), address("fd00::2")], eth1: [address("2001:db8::1")] });
    expect(expandTemplate(text, both)).toBe(expected);
  });

  it("says what it knows, and what there is not", () => {
    expect(() => expandTemplate("{{ GetAllInterfaces }}", host)).toThrow(
      "want GetPrivateIP, GetPublicIP or GetInterfaceIP",
    );
    expect(() => expandTemplate('{{ GetInterfaceIP "x" }}', host)).toThrow("no address for");
  });
});

describe("parseAddresses", () => {
  it("splits at spaces and takes IP addresses and sockets only", () => {
    expect(parseAddresses(" 127.0.0.1  [::1] unix:///s ")).toEqual(["127.0.0.1", "::1", "unix:///s"]);
    expect(() => parseAddresses("127.0.0.1 localhost")).toThrow("'localhost' is no IP address");
  });
});
