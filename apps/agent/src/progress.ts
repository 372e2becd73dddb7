/**
 * Tells the CA how far this node has followed its active root (proxies that know the roots, leaves that it has signed), and hears from
 * it whether the two clocks are apart.
 */
import type { ApiClient } from "@heddle/api-client";
import { type Clock, describeError, type Logger, type Timer } from "@heddle/daemon";
import type { Followed } from "./followed.ts";
import type { Leaves } from "./leaves.ts";

const LOOK_MS = 1_000;
const COUNTED_LOOKS = 10; // who has just been answered waits again in a moment, and is there all the while
const AGAIN_MS = 60_000; // told again where nothing has changed: the CA keeps it in memory

export interface ProgressOptions {
  ca: ApiClient;
  followed: Pick<Followed, "roots">;
  leaves: Pick<Leaves, "renewed">;
  node: string;
  clock: Clock;
  log: Logger;
}

/** What the CA answers; nothing where it is of an older version. */
interface Heard {
  /** By how much this node's clock is ahead of the CA's; negative where it is behind. */
  clockAheadMs?: number;
  /** As far as that does no harm. */
  allowedMs?: number;
}

/** Reports each change within a second, until the function that it returns is called. */
export function reportProgress({ ca, followed: { roots }, leaves, node, clock, log }: ProgressOptions): () => void {
  let timer: Timer;
  let isClosed = false;
  let last = "";
  let lastAt = 0;
  let isTold = false;
  let isApart = false;
  /** Certificates are judged by clocks: whoever's is wrong, both ends say so. */
  const heard = ({ clockAheadMs = 0, allowedMs = Infinity }: Heard) => {
    if (isApart === Math.abs(clockAheadMs) > allowedMs) return;
    isApart = !isApart;
    const fields = { ahead_ms: clockAheadMs };
    if (isApart) log.warn("this node's clock and the CA's are apart: certificates may be refused", fields);
    else log.info("this node's clock and the CA's are together again", fields);
  };
  const looks = { proxies: [] as number[], leaves: [] as number[] };
  const most = (what: keyof typeof looks, count: number): number => {
    looks[what] = [count, ...looks[what]].slice(0, COUNTED_LOOKS);
    return Math.max(...looks[what]);
  };
  const look = async () => {
    const root = roots.value?.ActiveRootID ?? "";
    const now = leaves.renewed(root);
    const proxies = most("proxies", roots.waiting);
    const inUse = most("leaves", now.leaves);
    const body = { node, root, proxies, trusting: roots.waitingForNext, leaves: inUse, renewed: now.renewed };
    const text = JSON.stringify(body);
    if (root === "" || (text === last && clock.now() - lastAt < AGAIN_MS)) return;
    last = text;
    lastAt = clock.now();
    try {
      const answer = await ca.put<Heard>("/internal/v1/ca/progress", { body: { ...body, at: clock.now() } });
      isTold = false;
      heard(answer.body);
    } catch (error) {
      last = "";
      // A CA of an older version does not ask; one that is away is told of elsewhere.
      if (!isTold) log.debug("cannot tell the CA how far its root is followed", { error: describeError(error) });
      isTold = true;
    }
  };
  const again = () => {
    if (!isClosed) timer = clock.after(LOOK_MS, () => void look().then(again));
  };
  again();
  return () => {
    isClosed = true;
    timer.cancel();
  };
}
