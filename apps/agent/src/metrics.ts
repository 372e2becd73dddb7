/** What the agent tells Prometheus. */
import { Gauge, type Registry } from "prom-client";
import type { LocalState } from "./local-state.ts";

export function registerAgentMetrics(registry: Registry, state: LocalState): void {
  new Gauge({
    name: "heddle_agent_services",
    help: "Services registered with this agent.",
    registers: [registry],
    collect() {
      this.set(state.services().length);
    },
  });
  const checks = new Gauge({
    name: "heddle_agent_checks",
    help: "Checks of this agent by status.",
    labelNames: ["status"],
    registers: [registry],
    collect() {
      const counts = { passing: 0, warning: 0, critical: 0 };
      for (const { definition } of state.checks()) counts[state.checkState(definition.CheckID).status]++;
      for (const [status, count] of Object.entries(counts)) checks.set({ status }, count);
    },
  });
}
