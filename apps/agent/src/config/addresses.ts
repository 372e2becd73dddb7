/** Addresses: which one this host is reached at, Consul's address templates, lists of addresses. */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";

export interface Network {
  interfaces: typeof networkInterfaces;
  /** The name of the interface of the default route, or undefined. */
  defaultInterface: () => string | undefined;
}

export const realNetwork: Network = { interfaces: networkInterfaces, defaultInterface };

/** RFC 1918, 6598 and 4193. */
const PRIVATE =
  /^(?:10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|f[cd][0-9a-f]{2}:)/i;
/** RFC 3927 and 4291: good on one link alone. */
const LINK_LOCAL = /^(?:169\.254\.|fe[89ab][0-9a-f]:)/i;

/** The address to tell others: that of the default route, else a private one, else any, else loopback. Never fails. */
export function hostAddress(network: Network): string {
  const name = network.defaultInterface();
  const all = candidates(network);
  const found = all.find((a) => a.name === name) ?? all.find((a) => PRIVATE.test(a.address)) ?? all[0];
  return found?.address ?? "127.0.0.1";
}

/** Replaces `{{ GetPrivateIP }}` and its like. Throws where there is no such address or no such template. */
export function expandTemplate(text: string, network: Network): string {
  return text.replace(/\{\{\s*(.*?)\s*\}\}/g, (_, call: string) => {
    const [, name = "", argument = ""] = /^(\w+)(?:\s+"([^"]*)")?$/.exec(call) ?? [];
    const all = candidates(network);
    const address =
      name === "GetPrivateIP"
        ? all.find((a) => PRIVATE.test(a.address))?.address
        : name === "GetPublicIP"
          ? all.find((a) => !PRIVATE.test(a.address))?.address
          : name === "GetInterfaceIP"
            ? candidates(network, true).find((a) => a.name === argument)?.address
            : null;
    if (address === null)
      throw new TypeError(`unknown template '{{ ${call} }}': want GetPrivateIP, GetPublicIP or GetInterfaceIP "name"`);
    if (address === undefined) throw new TypeError(`no address for the template '{{ ${call} }}'`);
    return address;
  });
}

// Those of IPv4 first: an IPv6 one is told where a host has no other.
function candidates(network: Network, withInternal = false): { name: string; address: string }[] {
  const all = Object.entries(network.interfaces()).flatMap(([name, addresses = []]) =>
    addresses
      .filter((a) => (withInternal || !a.internal) && !LINK_LOCAL.test(a.address))
      .map(({ address, family }) => ({ name, address, family })),
  );
  return ["IPv4", "IPv6"].flatMap((family) => all.filter((a) => a.family === family));
}

/** Linux's routing table: the default route with the lowest metric. Elsewhere there is no such file. */
function defaultInterface(): string | undefined {
  try {
    return readFileSync("/proc/net/route", "utf8")
      .split("\n")
      .slice(1)
      .map((line) => line.split("\t"))
      .filter((columns) => columns[1] === "00000000" && columns[7] === "00000000")
      .sort((a, b) => Number(a[6]) - Number(b[6]))[0]?.[0];
  } catch {
    return undefined;
  }
}

/** "127.0.0.1 ::1" → its parts. Throws at one that is no address. */
export function parseAddresses(text: string): string[] {
  return text
    .split(/\s+/)
    .filter((part) => part !== "")
    .map((part) => {
      const bare = part.replace(/^\[(.*)\]$/, "$1");
      if (isIP(bare) === 0 && !part.startsWith("unix://")) throw new TypeError(`'${part}' is no IP address`);
      return bare;
    });
}
