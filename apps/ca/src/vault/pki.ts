/**
 * Two PKI mounts of HashiCorp Vault as a signer: the root in one, the intermediate that signs leaves in the other, as Consul's
 * provider has them. Their keys never leave Vault. What Vault signs is checked as if it were a peer's.
 */
import { randomBytes } from "node:crypto";
import { HeddleError, UnavailableError } from "@heddle/daemon";
import {
  certificatesToDer,
  certificateToPem,
  type CertificateFacts,
  colonHex,
  createTrustBundle,
  type IssuedLeaf,
  readCertificate,
  type SigningKeyType,
  verifyChain,
} from "@heddle/tls";
import type { VaultClient } from "./client.ts";
import type { VaultSettings } from "./settings.ts";

const ROLE = "leaf-cert"; // Consul's
const MIN_LEFT = 1 / 3; // of an intermediate's life: with less, another is made

export interface VaultLeafRequest {
  csrPem: string;
  spki: Buffer;
  spiffeId: string;
  ttlMs: number;
  now: number;
}

export interface VaultPki {
  /** The root and the intermediate that signs, as PEM; made in Vault where they are not there yet. */
  prepare(wanted: Lifetimes, now: number): Promise<{ rootPem: string; intermediatePem: string }>;
  /** Throws what Vault says, and where it signs something else than it was asked for. */
  sign(request: VaultLeafRequest): Promise<IssuedLeaf & { issuerPem: string }>;
  /** Another intermediate in the place of the one that signs. */
  renewIntermediate(wanted: Lifetimes): Promise<string>;
  /** Another root's name and key, signed by Vault's root. */
  crossSign(certPem: string): Promise<string>;
}

export interface Lifetimes {
  trustDomain: string;
  keyType: SigningKeyType;
  rootTtlMs: number;
  intermediateTtlMs: number;
  leafTtlMs: number;
}

export function createVaultPki(client: VaultClient, { rootPath, intermediatePath }: VaultSettings): VaultPki {
  const named = ({ trustDomain, keyType }: Lifetimes, kind: string) => ({
    common_name: `${kind}-${randomBytes(4).toString("hex")}.vault.ca.${trustDomain.slice(0, 8)}.consul`,
    uri_sans: `spiffe://${trustDomain}`,
    key_type: keyType.type,
    key_bits: keyType.bits,
  });

  const mount = async (path: string, maxTtlMs: number): Promise<void> => {
    const ttl = seconds(maxTtlMs);
    const config = { max_lease_ttl: ttl, default_lease_ttl: ttl };
    await client.write(`sys/mounts/${path}`, { type: "pki", description: "certificates of the mesh", config });
  };
  const isMounted = async (path: string) => client.read(`${path}/config/urls`).then(() => true, isAbsent);

  const prepareRoot = async (wanted: Lifetimes): Promise<string> => {
    const known = await client.text(`${rootPath}/ca/pem`);
    if (known !== undefined) return onePem(known);
    if (!(await isMounted(rootPath))) await mount(rootPath, wanted.rootTtlMs);
    const body = { ...named(wanted, "pri"), ttl: seconds(wanted.rootTtlMs) };
    const { data } = await client.write(`${rootPath}/root/generate/internal`, body);
    return onePem(textOf(data, "certificate"));
  };

  const renewIntermediate = async (wanted: Lifetimes): Promise<string> => {
    const request = await client.write(`${intermediatePath}/intermediate/generate/internal`, named(wanted, "sec"));
    const csr = textOf(request.data, "csr");
    const ttl = seconds(wanted.intermediateTtlMs);
    const signed = await client.write(`${rootPath}/root/sign-intermediate`, {
      csr,
      use_csr_values: true,
      format: "pem_bundle",
      max_path_length: 0,
      ttl,
    });
    const certificate = onePem(textOf(signed.data, "certificate"));
    const { data } = await client.write(`${intermediatePath}/intermediate/set-signed`, { certificate });
    // Since 1.11 a mount may have several issuers, and a new one does not sign by itself.
    const issuers = data["imported_issuers"];
    if (Array.isArray(issuers) && issuers.length > 0)
      await client.write(`${intermediatePath}/config/issuers`, { default: issuers[0] as string });
    return certificate;
  };

  const writeRole = ({ trustDomain, leafTtlMs }: Lifetimes) =>
    client.write(`${intermediatePath}/roles/${ROLE}`, {
      allow_any_name: true,
      allowed_uri_sans: `spiffe://${trustDomain}/*`,
      basic_constraints_valid_for_non_ca: true,
      key_type: "any",
      max_ttl: seconds(leafTtlMs),
      no_store: true,
      require_cn: false,
      // Nothing that a client asks for but its key: the name comes with each request of ours.
      use_csr_common_name: false,
      use_csr_sans: false,
    });

  return {
    async prepare(wanted, now) {
      const rootPem = await prepareRoot(wanted);
      if (!(await isMounted(intermediatePath))) await mount(intermediatePath, wanted.intermediateTtlMs);
      await writeRole(wanted);
      const known = await client.text(`${intermediatePath}/ca/pem`);
      const isGood = known !== undefined && isUsable(onePem(known), rootPem, now);
      return { rootPem, intermediatePem: isGood ? onePem(known) : await renewIntermediate(wanted) };
    },
    async sign({ csrPem, spki, spiffeId, ttlMs, now }) {
      const body = { csr: csrPem, uri_sans: spiffeId, ttl: seconds(ttlMs) };
      const { data } = await client.write(`${intermediatePath}/sign/${ROLE}`, body);
      const certPem = onePem(textOf(data, "certificate"));
      const issuerPem = onePem(textOf(data, "issuing_ca"));
      const facts = factsOf(certPem);
      const problem = leafProblem(facts, { spki, spiffeId, now });
      if (problem !== undefined) throw new UnavailableError(`Vault has signed what it was not asked for: ${problem}`);
      const { serial, notBefore, notAfter } = facts;
      return { certPem, issuerPem, serial: colonHex(serial), notBefore, notAfter };
    },
    renewIntermediate,
    async crossSign(certPem) {
      const { data } = await client.write(`${rootPath}/root/sign-self-issued`, { certificate: certPem });
      return onePem(textOf(data, "certificate"));
    },
  };
}

const factsOf = (pem: string): CertificateFacts => readCertificate(certificatesToDer(pem)[0] as Buffer);

/** What it holds that a leaf may not hold. */
function leafProblem(
  { ca, altNames, spki, notAfter, keyUsage, extKeyUsage }: CertificateFacts,
  wanted: Pick<VaultLeafRequest, "now" | "spiffeId" | "spki">,
): string | undefined {
  const { uris, dns, ips, others } = altNames;
  if (!spki.equals(wanted.spki)) return "another key";
  if (uris.length !== 1 || uris[0] !== wanted.spiffeId) return `URI names ${uris.join(", ").slice(0, 200) || "(none)"}`;
  if (dns.length + ips.length + others.length > 0) return "names beside the URI";
  if (ca) return "a CA's certificate";
  if (keyUsage === undefined || !(keyUsage & 1)) return "a key usage without digital signatures";
  if (!extKeyUsage || extKeyUsage.length < 2) return "a certificate that is not for both ends of TLS";
  return notAfter > wanted.now ? undefined : "a certificate that has expired";
}

function isUsable(intermediatePem: string, rootPem: string, now: number): boolean {
  const { notBefore, notAfter } = factsOf(intermediatePem);
  const chain = verifyChain(certificatesToDer(intermediatePem)[0] as Buffer, [], createTrustBundle([rootPem]), now);
  return chain.ok && notAfter - now > (notAfter - notBefore) * MIN_LEFT;
}

function isAbsent(error: unknown): false {
  if (error instanceof HeddleError && !(error instanceof UnavailableError)) return false;
  throw error;
}

/** The first certificate of a text, in the one form that we compare. Vault's bundles have its issuers after it, and no line feed at the end. */
function onePem(text: string): string {
  return certificateToPem(certificatesToDer(text, "a certificate of Vault's")[0] as Buffer);
}

function textOf(data: Record<string, unknown>, key: string): string {
  const value = data[key];
  if (typeof value !== "string" || value === "") throw new UnavailableError(`Vault's answer holds no ${key}`);
  return value;
}

// Whole seconds as text, which every version of Vault reads as a duration.
const seconds = (ms: number): string => `${Math.max(1, Math.floor(ms / 1_000))}s`;
