/** The lives of the active root and of the intermediate that signs for it: replaced in time, and told about where nobody could. */
import { describeError, type Logger } from "@heddle/daemon";
import { daysLeft, expiryStage, nextStageAt, type Validity } from "@heddle/tls";
import type { ActiveRoot } from "./active-root.ts";
import { keepLooking, type LookingOptions, type NextLook } from "./looking.ts";
import type { CaSettings } from "./provider-config.ts";
import { rfc3339 } from "./rfc3339.ts";

const RENEW_AT = 2 / 3;
const ROLLED_BACK_MS = 86_400_000;
const RETRY_MS = 3_600_000; // a rotation that failed once, for a disk or a rehearsal

export interface RootLifeOptions extends LookingOptions {
  log: Logger;
}

/** Watches over both until the function that it returns is called. */
export function watchRootLife(options: RootLifeOptions): () => void {
  const { authority } = options;
  const stops = [
    watchLife(options, {
      what: "root",
      now: () => ({ id: authority.activeRoot.id, validity: authority.activeRoot.validity }),
      renewAt: () => renewalOf(authority.activeRoot),
      renew: () => authority.renewRoot(),
    }),
    watchLife(options, {
      what: "intermediate",
      now() {
        const { intermediateId: id, signerValidity: validity } = authority.activeRoot;
        return id === undefined ? undefined : { id, validity };
      },
      renewAt: () => intermediateRenewalOf(authority.activeRoot, authority.settings),
      renew: () => authority.renewIntermediate(),
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}

interface Life {
  what: "intermediate" | "root";
  /** Undefined while there is none. */
  now: () => { id: string; validity: Validity } | undefined;
  renewAt: () => number | undefined;
  renew: () => Promise<void>;
}

function watchLife(options: RootLifeOptions, { what, now: current, renewAt, renew }: Life): () => void {
  const { lead, clock, log } = options;
  let retryAt = 0;
  let told = "";
  const look = (): NextLook | Promise<NextLook> => {
    const living = current();
    if (!living) return undefined;
    const now = clock.now();
    const { id, validity } = living;
    const stage = expiryStage(validity, now);
    if (stage > 0 && told !== `${id} ${stage}`) {
      const fields = { [what]: id, days_left: daysLeft(validity, now), not_after: rfc3339(validity.notAfter) };
      if (now >= validity.notAfter)
        log.error(`the ${what} certificate has expired: nothing is signed any more`, fields);
      else log.warn(`the ${what} certificate expires soon`, fields);
      told = `${id} ${stage}`;
    }
    const at = Math.max(renewAt() ?? Infinity, retryAt);
    // Where another CA leads it replaces, and what is new is heard of.
    if (at <= now && now < validity.notAfter) return lead.isLeader() ? replace(living) : undefined;
    return Math.min(nextStageAt(validity, now) ?? Infinity, now < validity.notAfter ? at : Infinity) - now;
  };
  const replace = async ({ id, validity }: { id: string; validity: Validity }): Promise<NextLook> => {
    try {
      await renew();
      log.info(`the ${what} certificate was replaced in time`, { [what]: current()?.id });
    } catch (error) {
      log.error(`cannot replace the ${what} certificate in time, trying again`, {
        [what]: id,
        not_after: rfc3339(validity.notAfter),
        error: describeError(error),
      });
      retryAt = clock.now() + RETRY_MS;
    }
    return 0;
  };
  return keepLooking(options, look);
}

const twoThirds = ({ notBefore, notAfter }: Validity): number => notBefore + (notAfter - notBefore) * RENEW_AT;

/** When a root is replaced by itself. A root that an operator has made is the operator's to replace. */
export function renewalOf({ origin, validity, rotatedAt = 0, isRolledBack }: ActiveRoot): number | undefined {
  if (origin !== "made" && origin !== "key") return undefined;
  // Whoever went back to it has to find out why first.
  return Math.max(twoThirds(validity), isRolledBack ? rotatedAt + ROLLED_BACK_MS : 0);
}

/** When the intermediate that signs is replaced by itself; undefined where there is none, or its root's key is elsewhere. */
export function intermediateRenewalOf(
  { intermediateId, rootSigner, origin, signerValidity }: ActiveRoot,
  { rotationPeriodMs }: CaSettings,
): number | undefined {
  if (intermediateId === undefined || !(rootSigner || origin === "vault")) return undefined;
  const { notBefore } = signerValidity;
  return Math.min(twoThirds(signerValidity), rotationPeriodMs > 0 ? notBefore + rotationPeriodMs : Infinity);
}
