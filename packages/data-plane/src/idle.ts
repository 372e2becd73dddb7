/** `local_idle_timeout_ms`: callers' connections on which no byte moves for so long are cut, and both ends log why. */
import type { Clock, Timer } from "@heddle/daemon";
import type { Connection, ConnectionTable } from "./connections.ts";

/** Within one timeout: a connection ends at most an eighth later. A loop that was held up counts as one, however long it was. */
const LOOKS = 8;

export interface IdleCutsDeps {
  table: Pick<ConnectionTable, "all">;
  clock: Pick<Clock, "after">;
  /** Milliseconds; 0 for none. */
  timeoutMs: () => number;
}

export interface IdleCuts {
  /** The timeout may be another one. */
  changed(): void;
  close(): void;
}

export function createIdleCuts({ table, clock, timeoutMs }: IdleCutsDeps): IdleCuts {
  const seen = new WeakMap<Connection, { bytes: number; looks: number }>();
  let timer: Timer | undefined;
  let isClosed = false;

  const look = () => {
    const ms = timeoutMs();
    for (const connection of table.all) {
      const { direction, source, destination, cutBy, pipe } = connection;
      if (direction !== "inbound" || cutBy) continue;
      const bytes = pipe.bytesFromA + pipe.bytesFromB;
      const last = seen.get(connection);
      if (last?.bytes !== bytes) seen.set(connection, { bytes, looks: 0 });
      else if (++last.looks >= LOOKS)
        connection.cut({
          ...{ code: "limit", source, destination },
          reason: `no byte moved for ${ms} ms (local_idle_timeout_ms)`,
        });
    }
    plan();
  };
  const plan = () => {
    timer?.cancel();
    const ms = timeoutMs();
    timer = ms > 0 && !isClosed ? clock.after(Math.ceil(ms / LOOKS), look) : undefined;
  };
  return {
    changed: plan,
    close() {
      isClosed = true;
      timer?.cancel();
    },
  };
}
