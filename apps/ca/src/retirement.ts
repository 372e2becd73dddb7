/** Roots that were replaced leave the list, with their keys, when their time has come: nothing that is valid leads to them any more. */
import { describeError, type Logger } from "@heddle/daemon";
import type { Store, Write } from "@heddle/store";
import { certificatesToDer, readCertificate } from "@heddle/tls";
import { idOf } from "./active-root.ts";
import { keepLooking, type LookingOptions, type NextLook } from "./looking.ts";
import { KEYS, ROOTS, type RootRecord, VAULT_TOKEN } from "./records.ts";

const RETRY_MS = 60_000; // where the disk does not take it

export interface RetirementOptions extends LookingOptions {
  store: Store;
  log: Logger;
}

/** Removes what is due, now and whenever something becomes due, until the function that it returns is called. */
export function retireRoots(options: RetirementOptions): () => void {
  const { store, lead, clock, log } = options;
  const look = (): NextLook | Promise<NextLook> => {
    if (!lead.isLeader()) return undefined;
    const now = clock.now();
    const times = store.list<RootRecord>(ROOTS).flatMap(({ value }) => (value.isActive ? [] : [removalOf(value)]));
    const due = times.filter((at) => at <= now);
    return due.length > 0 ? remove(now, due.length) : Math.min(...times) - now;
  };
  const remove = async (now: number, roots: number): Promise<NextLook> => {
    try {
      await store.run((view) => ({ writes: removal(view.list<RootRecord>(ROOTS), now), result: undefined }));
      log.info("removed root certificates that nothing needs any more", { roots });
      return 0;
    } catch (error) {
      log.warn("cannot remove old root certificates, trying again", { error: describeError(error) });
      return RETRY_MS;
    }
  };
  return keepLooking(options, look);
}

function removalOf({ removeAt, certPem }: RootRecord): number {
  return Math.min(removeAt ?? 0, factsOf(certPem).notAfter);
}

function removal(roots: readonly { key: string; value: RootRecord }[], now: number): Write[] {
  const gone = roots.filter(({ value }) => !value.isActive && removalOf(value) <= now);
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
