/** The keys by which a proxy's limits count, for a column of their own in what threads share. */
import { countKey, type SharedCounts, type SnapshotStore, upstreamListenerName } from "@heddle/data-plane";

export function limitKeys({ id, store }: { id: string; store: SnapshotStore }): string[] {
  const upstreams = store.current.spec?.upstreams ?? [];
  return [
    countKey.handshakes,
    countKey.waiting(id),
    countKey.inbound(id),
    ...upstreams.map((upstream) => countKey.upstream(id, upstreamListenerName(upstream))),
  ];
}

/** What is open through a listener, in all threads. */
export function openAt(counts: Pick<SharedCounts, "of">, id: string, listener: string): number {
  return counts.of(listener === "public listener" ? countKey.inbound(id) : countKey.upstream(id, listener));
}
