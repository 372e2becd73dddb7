/**
 * Certificates that are no longer to be trusted: one by one, all of a service, or all of a node's agent. A pure function of the CA's list, shared by
 * the CA, the agents and the proxies, so that all refuse the same.
 */
import { createHash, type X509Certificate } from "node:crypto";

/** One certificate, as the API has it. */
export interface RevokedSerial {
  /** `08:…` */
  SerialNumber: string;
  /** The service that it was signed for; empty where the CA does not know any more. */
  Service: string;
  Reason: string;
  /** RFC 3339, in whole seconds. */
  RevokedAt: string;
  /** When its certificate has expired by itself, and the entry leaves the list. */
  ExpiresAt: string;
}

/** Every certificate of a service. */
export interface RevokedService {
  Service: string;
  Reason: string;
  RevokedAt: string;
  /** False while nothing is signed for the service; true once it was let in again, with certificates newer than `RevokedAt` alone. */
  Reinstated: boolean;
  /** Of one that was let in again: when the last older certificate has expired. Null until then. */
  ExpiresAt: string | null;
}

/** Every certificate of a node's agent, by the key that it joined with: the node may join anew, with another one. */
export interface RevokedNode {
  Node: string;
  /** SHA-256 of the public key (SubjectPublicKeyInfo), in hexadecimal. */
  KeyID: string;
  RevokedAt: string;
  ExpiresAt: string;
}

/** The JSON of /v1/connect/ca/revocations. */
export interface RevocationsAnswer {
  Serials: RevokedSerial[];
  Services: RevokedService[];
  /** Missing where the CA is of an older version. */
  Nodes?: RevokedNode[];
}

/** What is known of a certificate that is asked about. */
export interface Revocable {
  /** `08:…`, or the same digits without colons. */
  serial: string;
  service?: string | undefined;
  /** Of an agent: SHA-256 of its public key, in hexadecimal. */
  keyId?: string | undefined;
  /** Milliseconds since the epoch; undefined where only the serial is known, and then a service let in again is believed. */
  notBefore?: number | undefined;
}

export interface RevocationList {
  readonly answer: RevocationsAnswer;
  /** Why a certificate is refused; undefined where it is not. */
  check(certificate: Revocable): string | undefined;
  /** Why nothing is signed for a service; undefined where it may be. */
  blocked(service: string): string | undefined;
  /** A service that was let in again gets certificates that begin after this: milliseconds since the epoch. */
  earliest(service: string): number | undefined;
}

export const NO_REVOCATIONS: RevocationsAnswer = { Serials: [], Services: [], Nodes: [] };

export function createRevocationList(answer: RevocationsAnswer): RevocationList {
  const serials = new Map(answer.Serials.map((entry) => [serialKey(entry.SerialNumber), entry]));
  const services = new Map(answer.Services.map((entry) => [entry.Service, entry]));
  const nodes = new Map(answer.Nodes?.map((entry) => [entry.KeyID, entry]));
  const blocked = (service: string) => {
    const entry = services.get(service);
    return entry && !entry.Reinstated
      ? `service '${service}' was revoked at ${entry.RevokedAt}${because(entry)}`
      : undefined;
  };
  return {
    answer,
    blocked,
    check({ serial, service, keyId, notBefore }) {
      const one = serials.size > 0 ? serials.get(serialKey(serial)) : undefined;
      if (one) return `certificate ${one.SerialNumber} was revoked at ${one.RevokedAt}${because(one)}`;
      const node = keyId === undefined ? undefined : nodes.get(keyId);
      if (node) return revokedNode(node);
      if (service === undefined) return undefined;
      const entry = services.get(service);
      if (!entry) return undefined;
      if (!entry.Reinstated) return blocked(service);
      if (notBefore === undefined || notBefore > Date.parse(entry.RevokedAt)) return undefined;
      return `certificates of service '${service}' from before ${entry.RevokedAt} were revoked${because(entry)}`;
    },
    earliest(service) {
      const entry = services.get(service);
      return entry && Date.parse(entry.RevokedAt) + 1_000; // past its second: NotBefore is in whole ones
    },
  };
}

/** What a revoked node is told, wherever it comes with that key. */
export const revokedNode = ({ Node, RevokedAt }: RevokedNode): string =>
  `node '${Node}' was revoked at ${RevokedAt}: to join anew it wants another key (remove node-identity.json from its data directory) and a join token`;

/** What the list needs to know of a daemon's certificate. */
export function daemonRevocable({ serialNumber, publicKey }: X509Certificate): Revocable {
  const spki = publicKey.export({ type: "spki", format: "der" });
  return { serial: serialNumber, keyId: createHash("sha256").update(spki).digest("hex") };
}

/** A serial in the one form in which it is compared: hexadecimal digits, without zeros in front. */
export function serialKey(serial: string): string {
  return serial
    .replaceAll(":", "")
    .toLowerCase()
    .replace(/^(?:00)+(?=..)/, "");
}

const because = ({ Reason }: { Reason: string }): string => (Reason === "" ? "" : `: ${Reason}`);
