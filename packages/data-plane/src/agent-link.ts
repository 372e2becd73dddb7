/** Whether the agent answers, told once per change: many watches share one agent, and each of them fails when it is away. */
import type { WatchFailure } from "@heddle/api-client";
import { ApiError } from "@heddle/api-client";
import { describeError, type Logger } from "@heddle/daemon";

export interface AgentLink {
  /** How one watch is doing. */
  answered(watch: string): void;
  failed(watch: string, failure: WatchFailure): void;
  /** Forgets a watch that was stopped. */
  forget(watch: string): void;
  readonly isUp: boolean;
  /** What is wrong with it, in its words or the system's. */
  readonly problem: string | undefined;
  /** 0 while it answers. */
  readonly awayMs: number;
  /** What is known was already so old when this process began with it. */
  isOld(ms: number): void;
  /** Called when an agent that was away answers again. */
  onBack(listener: () => void): void;
}

export function createAgentLink(log: Logger): AgentLink {
  const away = new Set<string>();
  let awaySince = 0;
  let awayBecause = "";
  let oldMs = 0;
  const refusals = new Map<string, string>(); // by watch: what the agent said no to
  const listeners: (() => void)[] = [];
  const back = (watch: string) => {
    if (!away.delete(watch) || away.size > 0) return;
    log.info("the agent answers again");
    for (const listener of listeners) listener();
  };
  return {
    answered(watch) {
      oldMs = 0;
      if (refusals.delete(watch)) log.info("the agent gives again what it refused", { watch });
      back(watch);
    },
    failed(watch, { error }) {
      const text = describeError(error);
      if (error instanceof ApiError) {
        back(watch);
        if (refusals.get(watch) === text) return;
        refusals.set(watch, text);
        // A 5xx is mostly an agent whose own servers are away.
        if (error.status >= 500)
          log.warn("the agent cannot give what the proxy needs, going on with what is known", { watch, error: text });
        else log.error("the agent refuses what the proxy needs", { watch, error: text });
        return;
      }
      if (away.size === 0) {
        awaySince = performance.now();
        awayBecause = text;
        log.warn("the agent is away, going on with what is known", { error: text });
      }
      away.add(watch);
    },
    forget(watch) {
      refusals.delete(watch);
      away.delete(watch); // nobody has answered
    },
    get isUp() {
      return away.size === 0;
    },
    get problem() {
      return away.size > 0 ? awayBecause : refusals.values().next().value;
    },
    get awayMs() {
      return away.size === 0 ? 0 : oldMs + performance.now() - awaySince;
    },
    isOld(ms) {
      oldMs = Math.max(oldMs, ms);
    },
    onBack: (listener) => void listeners.push(listener),
  };
}
