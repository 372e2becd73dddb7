/** The active root's life: replaced at two thirds of it, and told about where nobody could replace it. */
import { type Clock, describeError, type Logger, type Timer } from "@heddle/daemon";
import { daysLeft, expiryStage, nextStageAt } from "@heddle/tls";
import type { ActiveRoot, Authority } from "./authority.ts";
import { rfc3339 } from "./rfc3339.ts";

const RENEW_AT = 2 / 3;
const RETRY_MS = 3_600_000; // a rotation that failed once, for a disk or a rehearsal

export interface RootLifeOptions {
  authority: Authority;
  clock: Clock;
  log: Logger;
}

/** Watches over the active root until the function that it returns is called. */
export function watchRootLife({ authority, clock, log }: RootLifeOptions): () => void {
  let timer: Timer | undefined;
  let isClosed = false;
  let retryAt = 0;
  let told = "";
  const look = () => {
    timer?.cancel();
    if (isClosed) return;
    const now = clock.now();
    const { id, signer } = authority.activeRoot;
    const stage = expiryStage(signer, now);
    if (stage > 0 && told !== `${id} ${stage}`) {
      const fields = { root: id, days_left: daysLeft(signer, now), not_after: rfc3339(signer.notAfter) };
      if (now >= signer.notAfter) log.error("the root certificate has expired: nothing is signed any more", fields);
      else log.warn("the root certificate expires soon", fields);
      told = `${id} ${stage}`;
    }
    const renewAt = Math.max(renewalOf(authority.activeRoot) ?? Infinity, retryAt);
    if (renewAt <= now && now < signer.notAfter) return void renew();
    const next = Math.min(nextStageAt(signer, now) ?? Infinity, now < signer.notAfter ? renewAt : Infinity);
    if (Number.isFinite(next)) timer = clock.after(next - now, look);
  };
  const renew = async () => {
    try {
      await authority.renewRoot();
      log.info("the root certificate was replaced at two thirds of its life", { root: authority.activeRoot.id });
    } catch (error) {
      log.error("cannot replace the root certificate at two thirds of its life, trying again", {
        root: authority.activeRoot.id,
        not_after: rfc3339(authority.activeRoot.signer.notAfter),
        error: describeError(error),
      });
      retryAt = clock.now() + RETRY_MS;
    }
    look();
  };
  const off = authority.onRootsChanged(() => queueMicrotask(look));
  look();
  return () => {
    isClosed = true;
    off();
    timer?.cancel();
  };
}

/** When a root is replaced by itself. A root that an operator has made is the operator's to replace. */
export function renewalOf({ origin, signer }: ActiveRoot): number | undefined {
  return origin === "root" ? undefined : signer.notBefore + (signer.notAfter - signer.notBefore) * RENEW_AT;
}
