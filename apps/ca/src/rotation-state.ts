/** Where a rotation of the root is, from its preparation to the end of the old root. */
import type { Authority } from "./authority.ts";
import { lastReplaced } from "./former-root.ts";
import { followed, type Progress } from "./progress.ts";
import type { WayBack } from "./records.ts";

/**
 * - `preparing`: nothing is switched yet
 * - `following`: the new root signs, and not all proxies trust it or have its leaves
 * - `followed`: all that is heard of have, and the old root waits for its last leaves
 * - `taken back`: the root before signs again
 */
export type Phase = "followed" | "following" | "preparing" | "taken back";

export interface RotationState {
  phase: Phase;
  /** Of the root that signed before; absent while another is prepared. */
  from: string | undefined;
  /** In milliseconds since the epoch. */
  since: number;
  /** How much of what is to follow has, 0 to 1; undefined where nobody tells, or nothing is switched. */
  share: number | undefined;
  /** Of one that was taken back. */
  because: WayBack | undefined;
  isAbortable: boolean;
}

/** Undefined where there is one root alone and none is prepared. */
export function rotationState(authority: Authority, progress: Pick<Progress, "following">): RotationState | undefined {
  const { activeRoot, preparations } = authority;
  const preparedSince = preparations.since();
  if (preparedSince !== undefined) {
    const nothing = { from: undefined, share: undefined, because: undefined };
    return { phase: "preparing", since: preparedSince, ...nothing, isAbortable: true };
  }
  const from = lastReplaced(authority.roots())?.key;
  const { id, rotatedAt: since, isRolledBack, wentBackBecause: because } = activeRoot;
  if (from === undefined || since === undefined) return undefined;
  const share = followed(progress.following(id));
  const phase = isRolledBack ? "taken back" : share === 1 ? "followed" : "following";
  return { phase, from, since, share, because, isAbortable: !isRolledBack };
}
