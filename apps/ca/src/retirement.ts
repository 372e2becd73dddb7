/** Roots that were replaced leave the list, with their keys, when their time has come: nothing that is valid leads to them any more. */
import { type Clock, describeError, type Logger, type Timer } from "@heddle/daemon";
import type { Store, Write } from "@heddle/store";
import { certificatesToDer, readCertificate } from "@heddle/tls";
import { KEYS, ROOTS, type RootRecord } from "./records.ts";

const RETRY_MS = 60_000; // where the disk does not take it

export interface Retirement {
  /** Looks again at what is due when. */
  changed(): void;
  close(): void;
}

/** Removes what is due, now and whenever something becomes due, until it is closed. */
export function retireRoots({ store, clock, log }: { store: Store; clock: Clock; log: Logger }): Retirement {
  let timer: Timer | undefined;
  let isClosed = false;
  const arm = (delayMs: number) => {
    timer?.cancel();
    timer = isClosed ? undefined : clock.after(delayMs, look);
  };
  const look = () => {
    const now = clock.now();
    const times = store.list<RootRecord>(ROOTS).flatMap(({ value }) => (value.isActive ? [] : [removalOf(value)]));
    const due = times.filter((at) => at <= now);
    if (due.length === 0) {
      const next = Math.min(...times);
      if (Number.isFinite(next)) arm(next - now);
      return;
    }
    store
      .run((view) => ({ writes: removal(view.list<RootRecord>(ROOTS), now), result: undefined }))
      .then(
        () => {
          log.info("removed root certificates that nothing needs any more", { roots: due.length });
          look();
        },
        (error: unknown) => {
          log.warn("cannot remove old root certificates, trying again", { error: describeError(error) });
          arm(RETRY_MS);
        },
      );
  };
  look();
  return {
    changed: look,
    close() {
      isClosed = true;
      timer?.cancel();
    },
  };
}

function removalOf({ removeAt, certPem }: RootRecord): number {
  return Math.min(removeAt ?? 0, factsOf(certPem).notAfter);
}

function removal(roots: readonly { key: string; value: RootRecord }[], now: number): Write[] {
  const gone = roots.filter(({ value }) => !value.isActive && removalOf(value) <= now);
  const subjects = gone.map(({ value }) => factsOf(value.certPem).subject);
  const leadsToGone = (pem: string) => subjects.some((subject) => subject.equals(factsOf(pem).issuer));
  const writes: Write[] = gone.flatMap(({ key }) => [
    { table: ROOTS, key, value: undefined },
    { table: KEYS, key, value: undefined },
  ]);
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
