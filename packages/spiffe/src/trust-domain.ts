/** Trust domains: the host part of a SPIFFE ID (SPIFFE-ID §2.1). */
import { IdentityError } from "./errors.ts";

export const MAX_TRUST_DOMAIN_BYTES = 255;

/** True for a trust domain in its canonical, lower-case form. */
export function isTrustDomain(text: string): boolean {
  return text.length <= MAX_TRUST_DOMAIN_BYTES && /^[a-z0-9._-]+$/.test(text);
}

/** Canonicalises a configured trust domain, once, so that everything after compares bytes. Throws IdentityError. */
export function parseTrustDomain(text: string): string {
  const canonical = text.toLowerCase();
  // Only ASCII may fold: "K" (Kelvin sign) lowers to "k", and must not name somebody else's domain.
  if (/^[\x21-\x7e]+$/.test(text) && isTrustDomain(canonical)) return canonical;
  throw new IdentityError(
    `invalid trust domain '${text.slice(0, 64)}': want letters, digits, '.', '-', '_', at most ${MAX_TRUST_DOMAIN_BYTES} bytes`,
  );
}

/** The trust domain of a cluster: `<cluster-uuid>.consul`, whatever its DNS domain. */
export function clusterTrustDomain(clusterId: string): string {
  return parseTrustDomain(`${clusterId}.consul`);
}
