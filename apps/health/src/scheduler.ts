/**
 * Runs jobs at their intervals: first soon, then at a phase of their own, so that a large set neither starts nor goes on in
 * bursts. At most so many run at once; what is due meanwhile waits its turn, programs apart from sockets.
 */
import type { Clock, Timer } from "@heddle/daemon";

/** Programs cost a process each, sockets a descriptor: they are bounded apart, so that neither starves the other. */
export type Pool = "program" | "socket";

export interface Job {
  /** Spreads the job: the same id always gets the same place. */
  id: string;
  intervalMs: number;
  pool: Pool;
  /** Never rejects. The signal aborts when the job is removed. */
  run(signal: AbortSignal): Promise<void>;
  /** True while the job's target is not up: within its first minute it is then run each second, whatever its interval. */
  isAwaited?: () => boolean;
}

export interface SchedulerOptions {
  clock: Clock;
  limits: Record<Pool, number>;
  /** Told of each start: how much later than due. */
  onStart?: (latenessMs: number) => void;
}

export interface Scheduler {
  /** Schedules a job until the returned function is called; a run under way is then aborted. */
  add(job: Job): () => void;
  readonly running: number;
  /** Jobs that are due and wait for others to end. */
  readonly waiting: number;
  /** Removes every job and resolves when no run is under way. */
  close(): Promise<void>;
}

const FIRST_RUN_WINDOW_MS = 1_000; // somebody may be waiting at a terminal
const MAX_FIRST_RUNS_PER_MS = 1; // a large set takes longer than the window to begin

// What is registered before it is started (a sidecar, a container) is seen within a second of its coming up.
const AWAIT_WINDOW_MS = 60_000;
const AWAIT_INTERVAL_MS = 1_000;

interface Entry {
  job: Job;
  addedAt: number;
  dueAt: number;
  hasRun: boolean;
  timer: Timer | undefined;
  controller: AbortController;
}

export function createScheduler({ clock, limits, onStart }: SchedulerOptions): Scheduler {
  const entries = new Set<Entry>();
  const waiting: Record<Pool, Set<Entry>> = { program: new Set(), socket: new Set() };
  const running: Record<Pool, number> = { program: 0, socket: 0 };
  const underWay = new Map<Entry, Promise<void>>();

  const arm = (entry: Entry, dueAt: number) => {
    entry.dueAt = dueAt;
    entry.timer = clock.after(dueAt - clock.now(), () => {
      waiting[entry.job.pool].add(entry);
      startDue(entry.job.pool);
    });
  };
  const startDue = (pool: Pool) => {
    for (const entry of waiting[pool]) {
      if (running[pool] >= limits[pool]) return;
      waiting[pool].delete(entry);
      running[pool]++;
      onStart?.(clock.now() - entry.dueAt);
      underWay.set(entry, run(entry));
    }
  };
  const run = async (entry: Entry) => {
    const { pool } = entry.job;
    await entry.job.run(entry.controller.signal);
    underWay.delete(entry);
    running[pool]--;
    if (entries.has(entry)) arm(entry, nextDue(entry, clock.now()));
    startDue(pool);
  };
  const remove = (entry: Entry) => {
    entries.delete(entry);
    waiting[entry.job.pool].delete(entry);
    entry.timer?.cancel();
    entry.controller.abort();
  };
  return {
    add(job) {
      const entry: Entry = {
        job,
        addedAt: clock.now(),
        dueAt: 0,
        hasRun: false,
        timer: undefined,
        controller: new AbortController(),
      };
      entries.add(entry);
      arm(entry, clock.now() + firstDelayMs(job, entries.size));
      return () => remove(entry);
    },
    get running() {
      return underWay.size;
    },
    get waiting() {
      return waiting.program.size + waiting.socket.size;
    },
    async close() {
      for (const entry of entries) remove(entry);
      await Promise.all(underWay.values());
    },
  };
}

/** Delay of a job's first run: within a second, or within as many milliseconds as there are jobs; never past its interval. */
export function firstDelayMs(job: Pick<Job, "id" | "intervalMs">, jobs: number): number {
  const windowMs = Math.max(FIRST_RUN_WINDOW_MS, jobs / MAX_FIRST_RUNS_PER_MS);
  return fractions(job.id)[0] * Math.min(job.intervalMs, windowMs);
}

/** Time from a job's first run to its second, which gives it its phase: half an interval to one and a half. */
export function secondDelayMs(job: Pick<Job, "id" | "intervalMs">): number {
  return job.intervalMs <= FIRST_RUN_WINDOW_MS ? job.intervalMs : job.intervalMs * (0.5 + fractions(job.id)[1]);
}

// Fixed times, not intervals between runs: a slow probe does not move its schedule, and what was missed is not made up.
function nextDue(entry: Entry, now: number): number {
  const { job, dueAt, addedAt } = entry;
  if (job.isAwaited?.() && now - addedAt < AWAIT_WINDOW_MS) return now + Math.min(job.intervalMs, AWAIT_INTERVAL_MS);
  if (!entry.hasRun) {
    entry.hasRun = true;
    const second = dueAt + secondDelayMs(job);
    if (second > now) return second;
  }
  return dueAt + job.intervalMs * Math.max(1, Math.ceil((now - dueAt) / job.intervalMs));
}

// Two numbers from 0 to below 1 that look random: FNV-1a with MurmurHash3's finaliser.
function fractions(id: string): [number, number] {
  let h = 0x811c9dc5;
  for (let i = 0; i < id.length; i++) h = Math.imul(h ^ id.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  h ^= h >>> 16;
  return [(h & 0xffff) / 0x10000, (h >>> 16) / 0x10000];
}
