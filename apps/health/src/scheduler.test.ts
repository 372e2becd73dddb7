import { ManualClock } from "@heddle/daemon/testing";
import { describe, expect, test } from "vitest";
import { createScheduler, firstDelayMs, type Job, secondDelayMs } from "./scheduler.ts";

const settle = () => new Promise<void>((resolve) => setImmediate(resolve));

function setup(limits = { program: 2, socket: 2 }) {
  const clock = new ManualClock();
  const started: { id: string; at: number }[] = [];
  const lateness: number[] = [];
  const scheduler = createScheduler({ clock, limits, onStart: (ms) => lateness.push(ms) });
  const startAt = clock.now();
  const ends = new Map<string, () => void>();
  const job = (
    id: string,
    intervalMs: number,
    options: { hold?: boolean; pool?: Job["pool"]; onAbort?: () => void } = {},
  ): Job => ({
    id,
    intervalMs,
    pool: options.pool ?? "socket",
    run(signal) {
      started.push({ id, at: clock.now() - startAt });
      if (options.onAbort) signal.addEventListener("abort", options.onAbort);
      return options.hold ? new Promise((resolve) => ends.set(id, resolve)) : Promise.resolve();
    },
  });
  /** Moves time in small steps, letting runs end in between. */
  const advance = async (ms: number) => {
    for (let left = ms; left > 0; left -= 10) {
      clock.advance(Math.min(10, left));
      await settle();
    }
  };
  return { scheduler, job, started, lateness, ends, advance, clock };
}

describe("when jobs run", () => {
  test("first within a second, then at an even rate", async () => {
    const { scheduler, job, started, advance } = setup();
    scheduler.add(job("web", 10_000));
    await advance(1_000);
    expect(started).toHaveLength(1);
    await advance(59_000);
    const times = started.map((s) => s.at);
    const gaps = times.slice(1).map((at, i) => at - (times[i] as number));
    expect(gaps[0]).toBeGreaterThanOrEqual(5_000);
    expect(gaps[0]).toBeLessThan(15_000);
    for (const gap of gaps.slice(1)) expect(gap).toBeCloseTo(10_000, -1);
  });

  test("what is not up yet is looked at each second, for a minute and until it is up", async () => {
    const { scheduler, job, started, advance } = setup();
    let isUp = false;
    scheduler.add({ ...job("sidecar", 10_000), isAwaited: () => !isUp });
    scheduler.add({ ...job("never", 10_000), isAwaited: () => true });
    const runs = (id: string, from: number) => started.filter((s) => s.id === id && s.at > from).length;
    await advance(20_000);
    expect(runs("sidecar", 0)).toBeGreaterThanOrEqual(18);
    isUp = true;
    await advance(41_000); // one more run may be armed already
    expect(runs("sidecar", 20_000)).toBeLessThanOrEqual(6);
    const before = started.length;
    await advance(60_000);
    expect(started.length - before).toBeLessThanOrEqual(14);
  });

  test("a thousand jobs are spread in their first second and over their interval", () => {
    const jobs = Array.from({ length: 1_000 }, (_, i) => ({ id: `service:web-${i}`, intervalMs: 10_000 }));
    const first = jobs.map((j) => firstDelayMs(j, 1_000));
    const later = jobs.map((j, i) => ((first[i] as number) + secondDelayMs(j)) % 10_000);
    const fullest = (times: number[], width: number) =>
      Math.max(...Object.values(Object.groupBy(times, (t) => Math.floor(t / width))).map((g) => g?.length ?? 0));
    expect(Math.max(...first)).toBeLessThan(1_000);
    expect(fullest(first, 100)).toBeLessThan(150); // 100 on average
    expect(fullest(later, 1_000)).toBeLessThan(150);
  });

  test("a large set takes a millisecond each to begin, never more than the interval", () => {
    const delays = Array.from({ length: 10_000 }, (_, i) => firstDelayMs({ id: `c${i}`, intervalMs: 60_000 }, 10_000));
    expect(Math.max(...delays)).toBeGreaterThan(9_000);
    expect(Math.max(...delays)).toBeLessThan(10_000);
    expect(firstDelayMs({ id: "c", intervalMs: 200 }, 10_000)).toBeLessThan(200);
  });

  test("a slow run is never joined by a second one, and what it missed is not made up", async () => {
    const { scheduler, job, started, ends, advance } = setup();
    scheduler.add(job("slow", 1_000, { hold: true }));
    await advance(10_500);
    expect(started).toHaveLength(1);
    ends.get("slow")?.();
    await settle();
    await advance(1_000);
    expect(started).toHaveLength(2);
  });
});

describe("limits", () => {
  test("at most so many at once, the rest in the order in which they were due", async () => {
    const { scheduler, job, started, ends, advance, lateness } = setup();
    const ids = ["a", "b", "c", "d"];
    for (const id of ids) scheduler.add(job(id, 60_000, { hold: true }));
    await advance(1_000);
    expect(scheduler.running).toBe(2);
    expect(scheduler.waiting).toBe(2);
    for (let i = 0; i < 3; i++) {
      ends.get(started[i]?.id as string)?.();
      await settle();
    }
    expect(new Set(started.map((s) => s.id))).toEqual(new Set(ids));
    expect(lateness[3]).toBeGreaterThan(0);
  });

  test("programs that hang do not hold up sockets", async () => {
    const { scheduler, job, started, advance } = setup({ program: 1, socket: 1 });
    scheduler.add(job("p1", 60_000, { hold: true, pool: "program" }));
    scheduler.add(job("p2", 60_000, { hold: true, pool: "program" }));
    scheduler.add(job("s", 60_000));
    await advance(1_000);
    expect(started.map((s) => s.id)).toContain("s");
    expect(scheduler.waiting).toBe(1);
  });
});

describe("removal", () => {
  test("aborts the run under way, and nothing runs again", async () => {
    const { scheduler, job, started, ends, advance } = setup();
    let aborted = 0;
    const remove = scheduler.add(job("x", 1_000, { hold: true, onAbort: () => aborted++ }));
    await advance(1_000);
    remove();
    expect(aborted).toBe(1);
    ends.get("x")?.();
    await advance(5_000);
    expect(started).toHaveLength(1);
    expect(scheduler.running).toBe(0);
  });

  test("close waits for what is under way", async () => {
    const { scheduler, job, ends, advance } = setup();
    scheduler.add(job("x", 1_000, { hold: true }));
    await advance(1_000);
    let isClosed = false;
    const closing = scheduler.close().then(() => (isClosed = true));
    await settle();
    expect(isClosed).toBe(false);
    ends.get("x")?.();
    await closing;
  });
});
