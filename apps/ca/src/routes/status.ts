/** GET /v1/connect/ca/status: how far a rotation is, and when each root ends. Ours; Consul has no such path. */
import { type ApiTable, type Clock, reply } from "@heddle/daemon";
import { certificatesToDer, daysLeft, readCertificate } from "@heddle/tls";
import type { Authority } from "../authority.ts";
import type { LeafLedger } from "../leaf-ledger.ts";
import type { Following, Progress } from "../progress.ts";
import { rfc3339 } from "../rfc3339.ts";
import { intermediateRenewalOf, renewalOf } from "../root-life.ts";
import { type RotationState, rotationState } from "../rotation-state.ts";
import { factsOf, type RootsFollowers } from "./roots.ts";

export interface StatusOptions {
  authority: Authority;
  ledger: LeafLedger;
  progress: Progress;
  followers: RootsFollowers;
  clock: Clock;
}

export function statusTable(options: StatusOptions): ApiTable {
  const since = options.clock.now();
  return { "/v1/connect/ca/status": { GET: (request) => reply(request, status(options, since)) } };
}

function status({ authority, ledger, progress, followers, clock }: StatusOptions, since: number) {
  const now = clock.now();
  const leaves = ledger.counts(now);
  const rotation = rotationState(authority, progress);
  const roots = authority.roots().map(({ key, value }) => {
    const { type, bits, notAfter } = factsOf(value.certPem);
    return {
      ID: key,
      Active: value.isActive,
      PrivateKeyType: type,
      PrivateKeyBits: bits,
      Origin: value.origin ?? "made",
      NotAfter: notAfter,
      DaysLeft: daysLeft(readCertificate(certificatesToDer(value.certPem)[0] as Buffer), now),
      CrossSigned: value.intermediates.some((pem) => pem !== value.intermediatePem),
      Leaves: leaves.get(key) ?? 0,
      RotatedOutAt: time(value.rotatedOutAt),
      RemoveAt: time(value.removeAt),
    };
  });
  return {
    TrustDomain: authority.trustDomain,
    State: roots.length > 1 || rotation ? "rotating" : "steady",
    Rotation: rotation ? showRotation(rotation) : null,
    LastAbortedAt: time(authority.preparations.stoppedAt()),
    Roots: roots.toSorted((a, b) => Number(b.Active) - Number(a.Active)),
    RenewAt: time(renewalOf(authority.activeRoot)),
    Intermediate: showIntermediate(authority, now),
    Following: showFollowing(progress.following(authority.activeRoot.id)),
    Followers: followers.size,
    LeavesCountedSince: rfc3339(since),
  };
}

const time = (at: number | undefined): string | null => (at === undefined ? null : rfc3339(at));

const showRotation = ({ phase, from, since, share, because, isAbortable }: RotationState) => ({
  Phase: phase,
  Since: rfc3339(since),
  From: from ?? null,
  Followed: share ?? null,
  Because: because ?? null,
  Abortable: isAbortable,
});

function showIntermediate({ activeRoot, settings }: Authority, now: number) {
  const { intermediateId: ID, signerValidity } = activeRoot;
  if (ID === undefined) return null;
  const renewAt = intermediateRenewalOf(activeRoot, settings);
  const RenewAt = renewAt === undefined ? null : rfc3339(renewAt);
  return { ID, NotAfter: rfc3339(signerValidity.notAfter), DaysLeft: daysLeft(signerValidity, now), RenewAt };
}

/** What agents have told lately. */
const showFollowing = ({ agents, informed, proxies, trusting, leaves, renewed, ...named }: Following) => ({
  Agents: agents,
  AgentsInformed: informed,
  Proxies: proxies,
  ProxiesTrusting: trusting,
  Leaves: leaves,
  LeavesRenewed: renewed,
  WaitsFor: named.waitsFor,
  ClocksApart: named.clocksApart.map(({ agent, aheadMs }) => ({ Agent: agent, AheadMs: aheadMs })),
});
