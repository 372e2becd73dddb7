/**
 * When a result counts: how many results of one sign in a row change a check's status. The rules and the starting values are
 * those that a real Consul showed (test/verdict.json): counters start full, so the first result of a check always counts.
 */
import type { CheckStatus } from "@heddle/service-definition";
import type { Check } from "./check.ts";

export interface Thresholds {
  successBeforePassing: number;
  failuresBeforeWarning: number;
  failuresBeforeCritical: number;
}

/** Results in a row: one of the two is always 0, except before the first result. */
export interface Counters {
  readonly successes: number;
  readonly failures: number;
}

export interface Verdict {
  counters: Counters;
  /** The status to show from now on; undefined where the check stays as it was, output included. */
  status: CheckStatus | undefined;
}

/** FailuresBeforeWarning is FailuresBeforeCritical where it is not given. */
export function thresholdsOf(check: Check): Thresholds {
  const failuresBeforeCritical = check.FailuresBeforeCritical ?? 0;
  return {
    successBeforePassing: check.SuccessBeforePassing ?? 0,
    failuresBeforeWarning: check.FailuresBeforeWarning || failuresBeforeCritical,
    failuresBeforeCritical,
  };
}

export const initialCounters = (thresholds: Thresholds): Counters => ({
  successes: thresholds.successBeforePassing,
  failures: thresholds.failuresBeforeCritical,
});

/** What one result does. A warning is a success here, as in Consul: something answered. */
export function judge(thresholds: Thresholds, counters: Counters, result: CheckStatus): Verdict {
  if (result !== "critical") {
    const successes = counters.successes + 1;
    return {
      counters: { successes, failures: 0 },
      status: successes >= thresholds.successBeforePassing ? result : undefined,
    };
  }
  const failures = counters.failures + 1;
  const status =
    failures >= thresholds.failuresBeforeCritical
      ? "critical"
      : failures >= thresholds.failuresBeforeWarning
        ? "warning"
        : undefined;
  return { counters: { successes: 0, failures }, status };
}
