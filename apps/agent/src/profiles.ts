/** What Node can tell of a running process, for `heddle debug`: a CPU profile, a sampled heap profile, and figures. */
import { Session } from "node:inspector/promises";
import { performance } from "node:perf_hooks";
import { getHeapSpaceStatistics, getHeapStatistics } from "node:v8";
import { sleep } from "@heddle/daemon";

/** The figures of a moment. */
export function runtimeFigures(): object {
  return {
    Node: process.version,
    UptimeSeconds: process.uptime(),
    Memory: process.memoryUsage(),
    Resources: process.resourceUsage(),
    EventLoop: performance.eventLoopUtilization(),
    ActiveResources: countEach(process.getActiveResourcesInfo()),
    Heap: getHeapStatistics(),
    HeapSpaces: getHeapSpaceStatistics(),
  };
}

function countEach(names: readonly string[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return Object.fromEntries(counts);
}

/** The form of Chrome's and Node's `.cpuprofile`. Ends early, with what there is, when `signal` aborts. */
export const cpuProfile = (ms: number, signal: AbortSignal): Promise<object> =>
  withSession(async (session) => {
    await session.post("Profiler.enable");
    await session.post("Profiler.start");
    await sleep(ms, signal).catch(() => {});
    return (await session.post("Profiler.stop")).profile;
  });

/** The form of `.heapprofile`: where what was allocated meanwhile, and still lives, came from. */
export const heapProfile = (ms: number, signal: AbortSignal): Promise<object> =>
  withSession(async (session) => {
    await session.post("HeapProfiler.startSampling");
    await sleep(ms, signal).catch(() => {});
    return (await session.post("HeapProfiler.stopSampling")).profile;
  });

async function withSession(take: (session: Session) => Promise<object>): Promise<object> {
  const session = new Session();
  session.connect();
  try {
    return await take(session);
  } finally {
    session.disconnect();
  }
}
