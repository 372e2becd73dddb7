/** That leaves come to their end is told: to Prometheus, to /readyz, and to the log while nobody scrapes. */
import type { Clock, Health, Timer } from "@heddle/daemon";
import { Gauge, type Registry } from "prom-client";
import type { Leaves } from "./leaves.ts";

const LOOK_EVERY_MS = 60_000;
const MAX_NAMED = 5;
const MAX_SERIES = 1_000; // a node has tens of services; whoever asks for leaves by the thousand must not fill Prometheus

export interface LeafExpiryWatch {
  health(): Health;
  close(): void;
}

/** Looks at the leaves once a minute, until it is closed. */
export function watchLeafExpiry({
  leaves,
  registry,
  clock,
}: {
  leaves: Leaves;
  registry: Registry;
  clock: Clock;
}): LeafExpiryWatch {
  let timer: Timer;
  const look = () => {
    leaves.expiry();
    timer = clock.after(LOOK_EVERY_MS, look);
  };
  timer = clock.after(LOOK_EVERY_MS, look);
  new Gauge({
    name: "heddle_agent_leaves",
    help: "Certificates of services that this agent holds.",
    registers: [registry],
    collect() {
      this.set(leaves.expiry().leaves);
    },
  });
  new Gauge({
    name: "heddle_agent_leaves_urgent",
    help: "Certificates in use that have less than a fortieth of their life left, and could not be renewed.",
    registers: [registry],
    collect() {
      this.set(leaves.expiry().urgent.length);
    },
  });
  new Gauge({
    name: "heddle_agent_leaf_days_left",
    help: "Days left of the certificate in use that expires first; absent while there is none.",
    registers: [registry],
    collect() {
      const { daysLeft } = leaves.expiry();
      if (daysLeft === undefined) this.remove();
      else this.set(daysLeft);
    },
  });
  new Gauge({
    name: "heddle_agent_leaf_expiry_timestamp_seconds",
    help: `Unix time at which the certificate in use of each service expires; of the ${MAX_SERIES} that expire first.`,
    labelNames: ["service"],
    registers: [registry],
    collect() {
      this.reset();
      const soonest = [...leaves.expiry().ends].toSorted(([, a], [, b]) => a - b).slice(0, MAX_SERIES);
      for (const [service, endsAt] of soonest) this.set({ service }, endsAt / 1_000);
    },
  });
  return {
    health() {
      const { urgent } = leaves.expiry();
      if (urgent.length === 0) return { started: true, live: true, ready: true };
      const more = urgent.length > MAX_NAMED ? ` and ${urgent.length - MAX_NAMED} more` : "";
      const names = urgent.slice(0, MAX_NAMED).join(", ");
      return { started: true, live: true, ready: false, details: `certificates about to expire: ${names}${more}` };
    },
    close: () => timer.cancel(),
  };
}
