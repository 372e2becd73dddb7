/** One proxy on one thread: its listeners, and what came in through them. */
import type { Logger } from "@heddle/daemon";
import type { Carried, Carrier, SnapshotStore } from "@heddle/data-plane";
import { createListeners, type Listeners, type ListenersOptions } from "./listeners.ts";

export interface Unit {
  readonly id: string;
  readonly store: SnapshotStore;
  readonly listeners: Listeners;
  readonly carried: Carried;
  /** Accepts nothing more; what is open may go on for `drainMs`, then it is reset. */
  end(drainMs: number): Promise<void>;
}

export interface UnitOptions extends ListenersOptions {
  id: string;
  store: SnapshotStore;
  carrier: Carrier;
  log: Logger;
  /** Decides which of the wanted listeners stand on this thread; by default all. */
  filter?: (listeners: Listeners) => Pick<Listeners, "want">;
}

export function createUnit({ id, store, carrier, log, filter = (own) => own, ...options }: UnitOptions): Unit {
  const listeners = createListeners(log, options);
  const carried = carrier.carry({ id, store, listeners: filter(listeners) });
  const { proxy, table } = carried;
  return {
    id,
    store,
    listeners,
    carried,
    async end(drainMs) {
      await listeners.stopAccepting();
      proxy.leave();
      await table.drained(drainMs);
      listeners.reset();
      await proxy.close();
      await carrier.drop(carried);
    },
  };
}
