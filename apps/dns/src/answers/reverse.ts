/** Reverse lookups: from `4.3.2.1.in-addr.arpa` to an address, and from what the catalog knows of it to a PTR. */
import { TYPE } from "../codec/constants.ts";
import { toWireName } from "../codec/name.ts";
import { nameRecord, type Rr } from "../codec/record.ts";

export const isReverse = (name: string): boolean => name === "arpa" || name.endsWith(".arpa");

/** The address's bytes in hex, or undefined where the name is not a whole reverse address. */
export function parseReverse(name: string): string | undefined {
  const labels = name.split(".");
  if (labels.pop() !== "arpa") return undefined;
  const family = labels.pop();
  labels.reverse();
  if (
    family === "in-addr" &&
    labels.length === 4 &&
    labels.every((l) => /^(?:0|[1-9]\d{0,2})$/.test(l) && Number(l) < 256)
  )
    return Buffer.from(labels.map(Number)).toString("hex");
  if (family === "ip6" && labels.length === 32 && labels.every((l) => /^[0-9a-f]$/.test(l))) return labels.join("");
  return undefined;
}

export function pointerRecord(target: string): Rr | undefined {
  const wire = toWireName(target);
  return wire && nameRecord(undefined, TYPE.PTR, 0, wire);
}
