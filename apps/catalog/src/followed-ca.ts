/**
 * What the catalog follows of a CA in another process: the trust domain, which discovery chains name; what is revoked, by which its
 * own callers are refused; and both reads, for the change stream.
 */
import { type ApiClient, followRead, followRevocations, REVOCATIONS_PATH } from "@heddle/api-client";
import type { Followable, Logger, RevokedCallers } from "@heddle/daemon";

const ROOTS_PATH = "/v1/connect/ca/roots";

export interface FollowedCa extends Disposable {
  /** Undefined until the CA has answered for the first time. */
  trustDomain(): string | undefined;
  readonly revokedCallers: RevokedCallers;
  /** For the stream, by path. */
  readonly followable: Readonly<Record<string, Followable>>;
}

/** Follows the CA until it is disposed of. */
export function followCa(ca: ApiClient, log: Logger): FollowedCa {
  const roots = followRead<{ TrustDomain?: string }>(ca, ROOTS_PATH, { what: "roots", log });
  const revocations = followRevocations(ca, { log });
  return {
    trustDomain: () => roots.body?.TrustDomain || undefined,
    revokedCallers: revocations.callers,
    followable: { [ROOTS_PATH]: roots, [REVOCATIONS_PATH]: revocations },
    [Symbol.dispose]() {
      roots[Symbol.dispose]();
      revocations[Symbol.dispose]();
    },
  };
}
