/** Which thing of the catalog a name of our zone asks for. */
import { TYPE } from "../codec/constants.ts";

export type Lookup =
  | { kind: "service"; name: string; tag: string; datacenter: string }
  | { kind: "connect" | "ingress" | "virtual" | "node" | "query"; name: string; datacenter: string }
  | { kind: "addr"; address: Buffer }
  | { kind: "none" };

const KINDS = new Set(["service", "connect", "ingress", "virtual", "node", "query", "addr"]);
const NONE: Lookup = { kind: "none" };

/**
 * Reads the labels in front of the domain: `[tag.]name.service[.dc]` and its siblings. The last keyword counts, so a node may
 * be called "db.service". `datacenter` is "" where the name has none.
 */
export function parseLookup(labels: string[], type: number): Lookup {
  for (let i = labels.length - 1; i >= 0; i--) {
    const label = labels[i] as string;
    if (KINDS.has(label)) return build(label, labels.slice(0, i), labels.slice(i + 1));
    // RFC 2782 names need no "service": _web._tcp.consul.
    if (type === TYPE.SRV && label.startsWith("_"))
      return build("service", labels.slice(0, i + 1), labels.slice(i + 1));
  }
  return NONE;
}

function build(kind: string, parts: string[], suffix: string[]): Lookup {
  const last = parts.at(-1);
  if (last === undefined) return NONE;
  if (kind === "addr") return addressLookup(parts);
  const isPlain = suffix.length <= 1 || (suffix.length === 2 && suffix[1] === "dc");
  if (!isPlain) return NONE;
  const datacenter = suffix[0] ?? "";
  const [first = "", second = ""] = parts;
  const isRfc2782 = parts.length === 2 && first.startsWith("_") && second.startsWith("_");
  switch (kind) {
    case "service":
      if (isRfc2782) {
        const tag = second.slice(1);
        return { kind, name: first.slice(1), tag: tag === "tcp" ? "" : tag, datacenter };
      }
      // Tags may hold dots, names of services may not.
      return { kind, name: last, tag: parts.slice(0, -1).join("."), datacenter };
    case "connect":
    case "ingress":
    case "virtual":
      return { kind, name: last, datacenter };
    case "query":
      return { kind, name: isRfc2782 ? first.slice(1) : parts.join("."), datacenter };
    default:
      return { kind: "node", name: parts.join("."), datacenter };
  }
}

function addressLookup(parts: string[]): Lookup {
  const [hex = ""] = parts;
  if (parts.length !== 1 || !/^(?:[0-9a-f]{8}|[0-9a-f]{32})$/.test(hex)) return NONE;
  return { kind: "addr", address: Buffer.from(hex, "hex") };
}
