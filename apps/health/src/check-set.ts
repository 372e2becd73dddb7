/** The checks of one agent: kept in step with what it syncs, run by the scheduler, results told when they change. */
import { describeError, type Logger } from "@heddle/daemon";
import type { CheckStatus } from "@heddle/service-definition";
import type { Check, Sync } from "./check.ts";
import { damp, NOT_FLAPPING, REUSE_BELOW } from "./flapping.ts";
import type { CheckMetrics } from "./metrics.ts";
import { type Kind, kindOf } from "./probes/kinds.ts";
import { critical, type ProbeContext, type ProbeResult } from "./probes/probe.ts";
import type { Scheduler } from "./scheduler.ts";
import { type Counters, initialCounters, judge, type Thresholds, thresholdsOf } from "./verdict.ts";

// What stands before the body in an output: a URL of at most 8 KiB and a target's words, which may be as long as it likes.
const MAX_PREFIX_CHARS = 16 * 1_024;

export interface CheckSetDeps {
  scheduler: Scheduler;
  /** Everything that probes get but the signal and the output limit, which are the run's and the check's. */
  probing: Omit<ProbeContext, "signal">;
  minIntervalMs: number;
  /** Why programs may not run for this agent; undefined where they may. */
  scriptsRefused: string | undefined;
  /** Whether a check that comes and goes is held critical for a while. */
  damping: boolean;
  /** Those that are, of all sets together. */
  flapping: Set<object>;
  metrics: CheckMetrics;
  log: Logger;
  onResult: (checkId: string, status: CheckStatus, output: string) => void;
}

export interface CheckSet {
  readonly size: number;
  /** Replaces the set: unchanged checks keep their schedule and counters, and what is known of them is told again. */
  sync(sync: Sync): void;
  close(): void;
}

interface Member {
  definition: string;
  shown: ProbeResult | undefined;
  remove: () => void;
}

export function createCheckSet(deps: CheckSetDeps): CheckSet {
  const members = new Map<string, Member>();
  const remove = (id: string) => {
    members.get(id)?.remove();
    members.delete(id);
  };
  return {
    get size() {
      return members.size;
    },
    sync({ checks, refused }) {
      const wanted = new Set(checks.map((check) => check.CheckID));
      for (const id of members.keys()) if (!wanted.has(id)) remove(id);
      for (const check of checks) {
        const known = members.get(check.CheckID);
        const definition = JSON.stringify(check);
        if (known?.definition === definition) {
          if (known.shown) deps.onResult(check.CheckID, known.shown.status, known.shown.output);
          continue;
        }
        remove(check.CheckID);
        members.set(check.CheckID, startMember(check, definition, deps));
      }
      for (const [id, reason] of refused) {
        deps.log.warn("refused a check that cannot run", { check: id, reason });
        deps.onResult(id, "critical", reason);
      }
    },
    close() {
      for (const id of members.keys()) remove(id);
    },
  };
}

function startMember(check: Check, definition: string, deps: CheckSetDeps): Member {
  const { log, metrics, onResult, probing, scheduler } = deps;
  const kind = kindOf(check) as Kind; // parseCheck has seen to it
  const thresholds: Thresholds = thresholdsOf(check);
  let counters: Counters = initialCounters(thresholds);
  const member: Member = { definition, shown: undefined, remove: () => {} };
  const tell = ({ status, output }: ProbeResult) => {
    if (member.shown?.status === status && member.shown.output === output) return;
    if (member.shown?.status !== status) log.debug("check status changed", { check: check.CheckID, status });
    member.shown = { status, output };
    onResult(check.CheckID, status, output);
  };
  let actual: CheckStatus | undefined;
  let flapping = NOT_FLAPPING;
  const damped = (result: ProbeResult): ProbeResult => {
    const hasFailed = result.status === "critical" && actual !== undefined && actual !== "critical";
    actual = result.status;
    if (!deps.damping) return result;
    const was = flapping.isSuppressed;
    flapping = damp(flapping, probing.clock.now(), hasFailed);
    const score = Math.round(flapping.penalty / 100) * 100;
    if (flapping.isSuppressed && !was) log.warn("check is flapping, held critical", { check: check.CheckID, score });
    if (!flapping.isSuppressed && was) log.info("check flaps no longer", { check: check.CheckID, score });
    if (flapping.isSuppressed) deps.flapping.add(member);
    else deps.flapping.delete(member);
    if (!flapping.isSuppressed || result.status === "critical") return result;
    return critical(`Flapping: score ${score}, held critical until it is below ${REUSE_BELOW}. Now: ${result.output}`);
  };
  const refusal = kind.runsPrograms ? deps.scriptsRefused : undefined;
  if (refusal !== undefined)
    log.warn("refusing a check that runs a program", { check: check.CheckID, reason: refusal });
  if ((check.IntervalMs ?? 0) < deps.minIntervalMs)
    log.warn("check has interval below minimum", { check: check.CheckID, minimum_interval_ms: deps.minIntervalMs });
  const remove = scheduler.add({
    id: check.CheckID,
    intervalMs: Math.max(check.IntervalMs ?? 0, deps.minIntervalMs),
    pool: kind.runsPrograms ? "program" : "socket",
    isAwaited: () => !kind.runsPrograms && member.shown?.status === "critical",
    run: async (signal) => {
      const done = metrics.start(kind.name);
      const result = refusal === undefined ? await probeOnce(check, kind, deps, signal) : critical(refusal);
      done(result.status);
      if (signal.aborted) return;
      const verdict = judge(thresholds, counters, result.status);
      counters = verdict.counters;
      if (verdict.status !== undefined) tell(damped({ status: verdict.status, output: result.output }));
    },
  });
  member.remove = () => {
    deps.flapping.delete(member);
    remove();
  };
  return member;
}

// A probe never rejects; if one does all the same, that is a result and not the end of its schedule.
async function probeOnce(
  check: Check,
  kind: Kind,
  { probing, log }: CheckSetDeps,
  signal: AbortSignal,
): Promise<ProbeResult> {
  const outputMaxBytes = Math.min(probing.outputMaxBytes, check.OutputMaxSize || probing.outputMaxBytes);
  try {
    const { probe } = await kind.load();
    const { status, output } = await probe(check, { ...probing, outputMaxBytes, signal });
    return { status, output: output.slice(0, outputMaxBytes + MAX_PREFIX_CHARS) };
  } catch (error) {
    log.error("a probe failed to run", { check: check.CheckID, error: describeError(error) });
    return critical(describeError(error));
  }
}
