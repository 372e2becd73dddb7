/** TTL checks: critical when no heartbeat came in time. */
import type { Clock, Timer } from "@heddle/daemon";
import type { LocalState } from "../local-state.ts";

export class TtlChecks {
  readonly #state: LocalState;
  readonly #clock: Clock;
  readonly #timers = new Map<string, Timer>();
  readonly #off: () => void;

  constructor(state: LocalState, clock: Clock) {
    this.#state = state;
    this.#clock = clock;
    for (const { definition } of state.checks()) this.#arm(definition.CheckID);
    this.#off = state.onChange((changes) => {
      for (const change of changes)
        if (change.kind === "check" && (change.what === "definition" || change.what === "removed"))
          this.#arm(change.id);
    });
  }

  /** Takes a heartbeat; false where the id is no TTL check's. */
  async heartbeat(id: string, status: "critical" | "passing" | "warning", output: string): Promise<boolean> {
    if (!this.#state.check(id)?.definition.TTLMs) return false;
    await this.#state.heartbeat(id, status, output);
    this.#arm(id);
    return true;
  }

  close(): void {
    this.#off();
    for (const timer of this.#timers.values()) timer.cancel();
  }

  #arm(id: string): void {
    this.#timers.get(id)?.cancel();
    this.#timers.delete(id);
    const ttlMs = this.#state.check(id)?.definition.TTLMs ?? 0;
    if (ttlMs <= 0) return;
    const last = this.#state.ttlState(id)?.at ?? this.#clock.now();
    this.#timers.set(
      id,
      this.#clock.after(Math.max(0, last + ttlMs - this.#clock.now()), () => this.#expire(id)),
    );
  }

  #expire(id: string): void {
    const output = this.#state.checkState(id).output;
    this.#state.setCheckState(
      id,
      "critical",
      output === "" ? "TTL expired" : `TTL expired (last output before timeout follows): ${output}`,
    );
  }
}
