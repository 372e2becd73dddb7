/**
 * After a rotation: do proxies follow? Where most of them do not, and none has for a while, the root before signs again by itself.
 * Stragglers are told of and not waited for: a node that died is no reason to go back.
 */
import { describeError, type Logger } from "@heddle/daemon";
import { keepLooking, type LookingOptions, type NextLook } from "./looking.ts";
import { followed, type Progress } from "./progress.ts";

const LOOK_MS = 5_000;
const ENOUGH = 0.5; // of proxies and leaves: with less, it is not a few that are behind
const TOLD_EVERY_MS = 60_000;
const WATCHED_MS = 86_400_000; // who has not followed by then, does not

export interface RotationWatchOptions extends LookingOptions {
  progress: Progress;
  log: Logger;
}

/** Watches each rotation until all have followed, or it was taken back; until the function that it returns is called. */
export function watchRotations(options: RotationWatchOptions): () => void {
  const { authority, progress, lead, clock, log } = options;
  let watched: { root: string; best: number; since: number; toldAt: number } | undefined;

  const look = (): NextLook | Promise<NextLook> => {
    const { id, rotatedAt, isRolledBack } = authority.activeRoot;
    const { rotationTimeoutMs } = authority.settings;
    if (!lead.isLeader() || rotatedAt === undefined || isRolledBack || rotationTimeoutMs === 0) return undefined;
    const now = clock.now();
    const following = progress.following(id);
    const share = followed(following);
    if (watched?.root !== id)
      watched = { root: id, best: -1, since: Math.max(rotatedAt, now - rotationTimeoutMs), toldAt: now };
    if (share !== undefined && share > watched.best)
      Object.assign(watched, { best: share, ...(watched.best >= 0 && { since: now }) });
    const isAlone = share === undefined && now - rotatedAt >= rotationTimeoutMs;
    if (share === 1 || isAlone || !authority.canRollBack || now - rotatedAt >= WATCHED_MS) return undefined;
    if (share !== undefined && now - watched.since >= rotationTimeoutMs && share < ENOUGH) return takeBack(share);
    if (share !== undefined && now - watched.toldAt >= TOLD_EVERY_MS) {
      watched.toldAt = now;
      log.warn("proxies have not all followed the new root yet", fields(share));
    }
    return LOOK_MS;
  };
  const fields = (share: number) => {
    const { proxies, trusting, leaves, renewed, waitsFor } = progress.following(authority.activeRoot.id);
    return {
      followed: `${Math.floor(share * 100)} %`,
      proxies: `${trusting} of ${proxies}`,
      leaves: `${renewed} of ${leaves}`,
      waits_for: waitsFor.join(", "),
    };
  };
  const takeBack = async (share: number): Promise<NextLook> => {
    const told = fields(share);
    const { id: from } = authority.activeRoot;
    log.error("proxies do not follow the new root: going back to the one before", { root: from, ...told });
    try {
      log.info("the rotation was taken back", { from, to: await authority.rollBack("not followed") });
    } catch (error) {
      log.error("cannot take the rotation back", { root: from, error: describeError(error) });
      if (watched) watched.since = clock.now();
    }
    return LOOK_MS;
  };
  return keepLooking(options, look);
}
