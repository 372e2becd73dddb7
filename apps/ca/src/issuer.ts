/** Signs: who may have which certificate is decided here, before anything is signed, and logged once, after. */
import {
  type Clock,
  describeError,
  HeddleError,
  InvalidArgumentError,
  type Logger,
  PermissionDeniedError,
  UnavailableError,
} from "@heddle/daemon";
import { DEFAULT_NAMESPACE, IdentityError, type SpiffeId } from "@heddle/spiffe";
import { certificatesToDer, parseCsr, readCertificate, type CsrFacts } from "@heddle/tls";
import type { Authority } from "./authority.ts";
import type { LeafLedger } from "./leaf-ledger.ts";
import type { CaMetrics } from "./metrics.ts";
import { createConcurrencyLimit } from "./concurrency-limit.ts";
import { createRateLimit } from "./rate-limit.ts";
import type { Revocations } from "./revocations.ts";
import { rfc3339 } from "./rfc3339.ts";

export interface SignedLeaf {
  certPem: string;
  /** Certificates to send with the leaf, from its issuer upwards; without the root. */
  chainPem: string[];
  rootId: string;
  serial: string;
  /** RFC 3339, in whole seconds. */
  notBefore: string;
  notAfter: string;
}

/** Why an identity may not be given, or nothing where it may; what else has to be done first is done here. */
export type IdentityRule = (id: SpiffeId, csr: CsrFacts) => Promise<string | undefined> | string | undefined;

export interface Issuer {
  /** Throws RateLimitedError where `sign` would for CSRMaxPerSecond: asked before anything of a request is read, which costs more than to refuse it. */
  admit(caller: string): void;
  /**
   * Signs a request for `caller` (for the log), where `rule` lets it; by default services. Throws InvalidArgumentError for a bad request, PermissionDeniedError for an
   * identity that is not ours to give, RateLimitedError past CSRMaxPerSecond.
   */
  sign(csrPem: string, caller: string, rule?: IdentityRule): Promise<SignedLeaf>;
}

export interface IssuerOptions {
  authority: Authority;
  datacenter: string;
  metrics: CaMetrics;
  ledger: LeafLedger;
  revocations: Revocations;
  clock: Clock;
  log: Logger;
}

export function createIssuer({
  authority,
  datacenter,
  metrics,
  ledger,
  revocations,
  clock,
  log,
}: IssuerOptions): Issuer {
  const rate = createRateLimit(clock);
  const concurrency = createConcurrencyLimit(clock);
  const validNow = createValidity();
  const refuseRevoked = (service: string | undefined) => {
    const why = service === undefined ? undefined : revocations.list.blocked(service);
    if (why !== undefined) refuse(why);
  };
  const sign = async (csr: CsrFacts, csrPem: string, rule: IdentityRule): Promise<SignedLeaf> => {
    requireOurs(csr.id, authority.trustDomain, datacenter);
    const service = csr.id.kind === "service" ? csr.id.service : undefined;
    refuseRevoked(service);
    const why = await rule(csr.id, csr);
    if (why !== undefined) refuse(why);
    const { csrMaxPerSecond, csrMaxConcurrent, leafTtlMs } = authority.settings;
    await rate.take(csrMaxPerSecond);
    // As in Consul, the limit per second takes the other's place.
    return concurrency.run(csrMaxPerSecond > 0 ? 0 : csrMaxConcurrent, async () => {
      const now = clock.now();
      refuseRevoked(service); // it may have waited for its turn
      const earliest = service === undefined ? undefined : revocations.list.earliest(service);
      const { leaf, chain, rootId } = await authority.issue({ csr, csrPem, ttlMs: leafTtlMs, now, earliest });
      return {
        certPem: leaf.certPem,
        chainPem: validNow(chain, now),
        rootId,
        serial: leaf.serial,
        notBefore: rfc3339(leaf.notBefore),
        notAfter: rfc3339(leaf.notAfter),
      };
    });
  };
  const refused = (error: unknown, caller: string, asked?: string) => {
    metrics.refused(error instanceof HeddleError ? error.code : "internal");
    log.info("refused to sign a certificate", { spiffe_id: asked, caller, reason: describeError(error) });
  };
  return {
    admit(caller) {
      try {
        rate.check(authority.settings.csrMaxPerSecond);
      } catch (error) {
        refused(error, caller);
        throw error;
      }
    },
    async sign(csrPem, caller, rule = servicesOnly) {
      const startedAt = performance.now();
      let asked: string | undefined;
      try {
        rate.check(authority.settings.csrMaxPerSecond);
        const csr = readRequest(csrPem);
        asked = csr.spiffeId;
        const leaf = await sign(csr, csrPem, rule);
        const { rootId, serial } = leaf;
        const service = csr.id.kind === "service" ? csr.id.service : "";
        ledger.issued({ caller, spiffeId: asked, rootId, service, serial, notAfter: Date.parse(leaf.notAfter) });
        metrics.signed((performance.now() - startedAt) / 1_000);
        log.info("signed a certificate", {
          spiffe_id: asked,
          caller,
          serial: leaf.serial,
          not_after: leaf.notAfter,
          root: leaf.rootId,
        });
        return leaf;
      } catch (cause) {
        const error = cause instanceof IdentityError ? new UnavailableError(cause.message, { cause }) : cause;
        refused(error, caller, asked);
        throw error;
      }
    },
  };
}

/** Those of a root's intermediates that have not expired: an old one at the end of a chain would only be in the way. */
function createValidity(): (pems: readonly string[], now: number) => string[] {
  const known = new WeakMap<readonly string[], { pem: string; notAfter: number }[]>();
  return (pems, now) => {
    let dated = known.get(pems);
    if (!dated) {
      dated = pems.map((pem) => ({ pem, notAfter: readCertificate(certificatesToDer(pem)[0] as Buffer).notAfter }));
      known.set(pems, dated);
    }
    return dated.flatMap(({ pem, notAfter }) => (notAfter > now ? [pem] : []));
  };
}

function readRequest(csrPem: string): CsrFacts {
  try {
    return parseCsr(csrPem);
  } catch (cause) {
    if (cause instanceof IdentityError) throw new InvalidArgumentError(cause.message, { cause });
    throw cause;
  }
}

const refuse = (why: string): never => {
  throw new PermissionDeniedError(`certificate refused: ${why}`);
};

/** Only of this trust domain, datacenter and namespace, whatever it is for. */
function requireOurs(id: SpiffeId, trustDomain: string, datacenter: string): void {
  if (id.kind === "signing") return refuse(servicesOnly(id) as string);
  if (id.trustDomain !== trustDomain) refuse(`the trust domain is '${trustDomain}', not '${id.trustDomain}'`);
  if (id.datacenter !== datacenter) refuse(`the datacenter is '${datacenter}', not '${id.datacenter}'`);
  if (id.kind === "service" && (id.namespace !== DEFAULT_NAMESPACE || id.partition !== undefined))
    refuse(`services are in namespace '${DEFAULT_NAMESPACE}' and in no partition`);
}

/** What callers get that are not known any closer. */
export function servicesOnly(id: SpiffeId): string | undefined {
  return id.kind === "service" ? undefined : `this CA signs for services, and this is a name of kind ${id.kind}`;
}
