/**
 * Roots that were replaced leave the list, with their keys, when nothing needs them: no leaf that is valid leads to them, and every proxy
 * that is heard of trusts the active one. Who never comes to trust it is waited for as long again, and no longer.
 */
import { describeError, type Logger } from "@heddle/daemon";
import type { Store, Write } from "@heddle/store";
import { certificatesToDer, readCertificate } from "@heddle/tls";
import { idOf } from "./active-root.ts";
import { keepLooking, type LookingOptions, type NextLook } from "./looking.ts";
import type { Following, Progress } from "./progress.ts";
import { KEYS, ROOTS, type RootRecord, VAULT_TOKEN } from "./records.ts";

const RETRY_MS = 60_000; // where the disk does not take it
const LOOK_MS = 5_000; // while somebody needs one

export interface RetirementOptions extends LookingOptions {
  store: Store;
  progress: Pick<Progress, "following">;
  log: Logger;
}

/** Removes what is due, now and whenever something becomes due, until the function that it returns is called. */
export function retireRoots(options: RetirementOptions): () => void {
  const { authority, store, progress, lead, clock, log } = options;
  let told = "";
  const look = (): NextLook | Promise<NextLook> => {
    if (!lead.isLeader()) return undefined;
    const now = clock.now();
    const old = store.list<RootRecord>(ROOTS).filter(({ value }) => !value.isActive);
    const due = old.filter(({ value }) => removalOf(value) <= now);
    if (due.length === 0) return Math.min(...old.map(({ value }) => removalOf(value))) - now;
    const following = progress.following(authority.activeRoot.id);
    const isNeeded = following.trusting < following.proxies;
    const gone = due.filter(({ value }) => !isNeeded || endOf(value) <= now).map(({ key }) => key);
    if (isNeeded) tell(due.length, gone.length, following);
    return gone.length > 0 ? remove(gone) : LOOK_MS;
  };
  const tell = (due: number, removed: number, { proxies, trusting, waitsFor }: Following) => {
    const fields = { proxies: `${trusting} of ${proxies}`, waits_for: waitsFor.join(", ") };
    const sentence =
      removed === 0
        ? "an old root stays: proxies that are heard of do not trust the new one yet"
        : "an old root goes though proxies that are heard of do not trust the new one";
    const text = JSON.stringify([due, removed, fields]);
    if (text !== told) log.warn(sentence, fields);
    told = text;
  };
  const remove = async (roots: string[]): Promise<NextLook> => {
    try {
      await store.run((view) => ({ writes: removal(view.list<RootRecord>(ROOTS), roots), result: undefined }));
      log.info("removed root certificates that nothing needs any more", { roots: roots.length });
      return 0;
    } catch (error) {
      log.warn("cannot remove old root certificates, trying again", { error: describeError(error) });
      return RETRY_MS;
    }
  };
  return keepLooking(options, look);
}

/** When no leaf leads to it any more. */
function removalOf({ removeAt, certPem }: RootRecord): number {
  return Math.min(removeAt ?? 0, factsOf(certPem).notAfter);
}

/** When it goes, whoever needs it. */
function endOf({ removeAt = 0, rotatedOutAt = removeAt, certPem }: RootRecord): number {
  return Math.min(removeAt + (removeAt - rotatedOutAt), factsOf(certPem).notAfter);
}

function removal(roots: readonly { key: string; value: RootRecord }[], ids: readonly string[]): Write[] {
  const gone = roots.filter(({ key, value }) => !value.isActive && ids.includes(key));
  // What leads to a root that is gone: its own intermediates, and what those have signed.
  const subjects = gone.flatMap(({ value }) =>
    [value.certPem, ...value.intermediates].map((pem) => factsOf(pem).subject),
  );
  const leadsToGone = (pem: string) => subjects.some((subject) => subject.equals(factsOf(pem).issuer));
  const writes: Write[] = gone.flatMap(({ key, value: { intermediatePem } }) => [
    { table: ROOTS, key, value: undefined },
    { table: KEYS, key, value: undefined },
    ...(intermediatePem === undefined ? [] : [{ table: KEYS, key: idOf(intermediatePem), value: undefined }]),
  ]);
  const left = roots.filter((root) => !gone.includes(root));
  if (!left.some(({ value }) => value.origin === "vault"))
    writes.push({ table: KEYS, key: VAULT_TOKEN, value: undefined });
  // The active one is written in any case: the list's index is that of its newest member, and must not fall.
  for (const { key, value } of roots)
    if (value.isActive)
      writes.push({
        table: ROOTS,
        key,
        value: { ...value, intermediates: value.intermediates.filter((pem) => !leadsToGone(pem)) },
      });
  return writes;
}

const factsOf = (pem: string) => readCertificate(certificatesToDer(pem)[0] as Buffer);
