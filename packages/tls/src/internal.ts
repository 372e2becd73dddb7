/** Certificates of the internal API, by which daemons know each other's role: for `heddle tls ca create` and `cert create`. */
import { randomUUID } from "node:crypto";
import { isIP } from "node:net";
import { daemonSpiffeId, IdentityError, isSegment } from "@heddle/spiffe";
import { dnsName, ipName, uriName } from "./extensions.ts";
import { generateKey, keyToPem } from "./keys.ts";
import { createSigner, leafCommonName, signLeaf } from "./leaf.ts";
import { createRootCertificate, type KeyAndCertificate } from "./root.ts";

const DAY_MS = 86_400_000;
const DEFAULT_CA_DAYS = 1_825; // five years, as `consul tls ca create`
const DEFAULT_CERTIFICATE_DAYS = 365;

/**
 * Who may be on the internal API. `operator` is a person's or a script's CLI; `server` is an agent with the servers in its
 * process, which is catalog, CA, health checker and agent behind one certificate.
 */
export const INTERNAL_ROLES = ["agent", "ca", "catalog", "dns", "health", "operator", "server"] as const;
export type InternalRole = (typeof INTERNAL_ROLES)[number];

export interface InternalCaOptions {
  /** A random one by default, so that no other cluster's certificates fit. */
  trustDomain?: string;
  days?: number;
  now?: number;
}

/** A CA for the internal API alone; it has nothing to do with the mesh's roots. */
export function createInternalCa(options: InternalCaOptions = {}): Promise<KeyAndCertificate> {
  const trustDomain = options.trustDomain ?? `${randomUUID()}.heddle`;
  return createRootCertificate({
    trustDomain,
    commonName: `Heddle internal CA ${trustDomain.slice(0, 8)}`,
    validityMs: (options.days ?? DEFAULT_CA_DAYS) * DAY_MS,
    now: options.now ?? Date.now(),
  });
}

export interface InternalCertificateOptions {
  ca: KeyAndCertificate;
  role: InternalRole;
  dc: string;
  /** The node that it speaks for. */
  node?: string;
  /** Beside `<role>.<dc>.consul` and `localhost`. */
  dnsNames?: readonly string[];
  /** Beside 127.0.0.1 and ::1. */
  ips?: readonly string[];
  days?: number;
  now?: number;
}

/** A key and certificate for one daemon, good for both ends of a connection. Throws IdentityError on a bad name. */
export function createInternalCertificate(options: InternalCertificateOptions): KeyAndCertificate {
  const { role, dc } = options;
  if (!INTERNAL_ROLES.includes(role))
    throw new IdentityError(`unknown role '${role}': known are ${INTERNAL_ROLES.join(", ")}`);
  if (!isSegment(dc)) throw new IdentityError(`invalid datacenter '${dc}': want letters, digits, '.', '-', '_'`);
  const dnsNames = new Set([`${role}.${dc}.consul`, "localhost", ...(options.dnsNames ?? [])]);
  const ips = new Set(["127.0.0.1", "::1", ...(options.ips ?? [])]);
  for (const name of dnsNames)
    if (!/^(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*$/.test(name))
      throw new IdentityError(`invalid DNS name '${name}'`);
  for (const ip of ips) if (isIP(ip) === 0 || ip.includes("%")) throw new IdentityError(`invalid IP address '${ip}'`);
  const signer = createSigner(options.ca);
  const spiffeId = daemonSpiffeId({
    trustDomain: signer.trustDomain,
    datacenter: dc,
    role,
    ...(options.node !== undefined && { node: options.node }),
  });
  const key = generateKey();
  const { certPem } = signLeaf({
    publicKey: key,
    names: [uriName(spiffeId), ...[...dnsNames].map(dnsName), ...[...ips].map(ipName)],
    commonName: leafCommonName(spiffeId),
    signer,
    ttlMs: (options.days ?? DEFAULT_CERTIFICATE_DAYS) * DAY_MS,
    now: options.now ?? Date.now(),
  });
  return { certPem, keyPem: keyToPem(key) };
}
