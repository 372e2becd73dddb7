/**
 * The further threads of a proxy. Each is told every change of every snapshot, so a rule, a cut and a renewed leaf reach all;
 * none of them asks the agent anything. A thread that fails loses its own connections and is started again.
 */
import { once } from "node:events";
import { cpus } from "node:os";
import { Worker } from "node:worker_threads";
import { type ApiClient, ApiError } from "@heddle/api-client";
import { describeError, type Logger, sleep } from "@heddle/daemon";
import { forgetThread, type HostPort, type SharedCounts, type SnapshotPart } from "@heddle/data-plane";
import type { Unit } from "../unit.ts";
import { limitKeys } from "./columns.ts";
import { createEvenness } from "./evenness.ts";
import { createGrowth } from "./growth.ts";
import type { FromThread, Question, ThreadData, ToThread } from "./messages.ts";

const LOOK_MS = 1_000;
const RESTART_MS = 1_000;
const ANSWER_MS = 1_000;
const LEAVE_MS = 2_000; // a thread whose units have ended has nothing left to wait for
const PARTS = { spec: 1, roots: 1, revocations: 1, rules: 1, endpoints: 1, leaf: 1 } satisfies Record<SnapshotPart, 1>;

export interface CrewOptions extends Pick<ThreadData, "memory" | "logFormat" | "logLevel"> {
  /** Threads in all, the main one among them. */
  max: number;
  /** All from the start; otherwise as load asks for them. */
  isFixed: boolean;
  counts: SharedCounts;
  client: Pick<ApiClient, "post">;
  /** Where the threads' log lines go. */
  writeLog: (text: string) => void;
  log: Logger;
}

export interface Crew {
  /** Threads that carry, the main one among them. */
  readonly size: number;
  /** The share of its time that each worked since the last look. */
  readonly loads: readonly number[];
  add(unit: Unit): void;
  /** Tells where the unit's listeners stand. */
  stand(unit: Unit): void;
  /** Ends it on all threads. */
  end(unit: Unit, drainMs: number): Promise<void>;
  /** What each further thread answers, of those that do in time. */
  ask<T>(question: Question): Promise<T[]>;
  close(): Promise<void>;
}

interface Member {
  thread: number;
  worker: Worker;
  asked: Map<number, (value: unknown) => void>;
  load: Load;
}

type Load = ReturnType<typeof performance.eventLoopUtilization>;

export function createCrew({ max, isFixed, log, client, counts, writeLog, ...data }: CrewOptions): Crew {
  const members = new Map<number, Member>();
  const restarting = new Set<number>();
  const units = new Map<string, Unit>();
  const columns = new Map<string, number>();
  let lastId = 0;
  let isClosed = false;
  let mainLoad = performance.eventLoopUtilization();
  let loads: number[] = [0];

  const toAll = (message: ToThread) => {
    for (const { worker } of members.values()) worker.postMessage(message);
  };

  /** A limit's key has one column in all threads, for as long as the process lives. */
  const nameLimits = (unit: Unit) => {
    const fresh = limitKeys(unit).filter((key) => !columns.has(key));
    for (const key of fresh) {
      columns.set(key, columns.size);
      counts.name(key, columns.size - 1);
    }
    if (fresh.length > 0) toAll({ type: "names", columns: fresh.map((key) => [key, columns.get(key) ?? 0]) });
  };

  const standingAt = ({ listeners }: Unit): [string, HostPort][] =>
    // A Unix socket cannot be listened on twice: the main thread alone carries what comes there.
    listeners.states().flatMap(({ name, address }) => (address && !address.path ? [[name, address]] : []));

  const start = (thread: number) => {
    const source = import.meta.url.endsWith(".ts") ? "./thread.ts" : "./proxy-thread.mjs";
    const worker = new Worker(new URL(source, import.meta.url), {
      workerData: { ...data, thread } satisfies ThreadData,
      name: `proxy ${thread}`,
    });
    const member: Member = { thread, worker, asked: new Map(), load: worker.performance.eventLoopUtilization() };
    members.set(thread, member);
    worker.on("message", (message: FromThread) => receive(member, message));
    worker.on("error", (error) =>
      log.error("a thread has failed, and its connections", { thread, error: describeError(error) }),
    );
    worker.once("exit", () => {
      members.delete(thread);
      forgetThread(data.memory, thread);
      for (const answer of member.asked.values()) answer(undefined);
      if (isClosed) return;
      restarting.add(thread);
      setTimeout(() => {
        restarting.delete(thread);
        if (!isClosed) start(thread);
      }, RESTART_MS).unref();
    });
    worker.postMessage({ type: "names", columns: [...columns] } satisfies ToThread);
    for (const unit of units.values()) {
      const { id, store } = unit;
      worker.postMessage({ type: "unit", unit: id } satisfies ToThread);
      for (const part of Object.keys(PARTS) as SnapshotPart[])
        worker.postMessage({ type: "part", unit: id, part, value: store.current[part] } satisfies ToThread);
      worker.postMessage({ type: "standing", unit: id, at: standingAt(unit) } satisfies ToThread);
    }
  };

  const receive = ({ worker, asked }: Member, message: FromThread) => {
    switch (message.type) {
      case "ready":
        break;
      case "log":
        writeLog(message.text);
        break;
      case "answer":
        asked.get(message.id)?.(message.value);
        asked.delete(message.id);
        break;
      case "post": {
        const { id, path, body } = message;
        client.post(path, { body }).then(
          () => worker.postMessage({ type: "posted", id } satisfies ToThread),
          (error: unknown) => {
            const status = error instanceof ApiError ? (error.status ?? 500) : 500;
            worker.postMessage({ type: "posted", id, status } satisfies ToThread);
          },
        );
      }
    }
  };

  const askOne = ({ worker, asked }: Member, message: (id: number) => ToThread, timeoutMs: number): Promise<unknown> =>
    new Promise((resolve) => {
      const id = ++lastId;
      const timer = setTimeout(() => answer(undefined), timeoutMs);
      const answer = (value: unknown) => {
        clearTimeout(timer);
        asked.delete(id);
        resolve(value);
      };
      asked.set(id, answer);
      worker.postMessage(message(id));
    });

  const growth = createGrowth();
  const evenness = createEvenness();
  let before: ReturnType<typeof processorTimes> | undefined;
  const look = () => {
    const now = performance.eventLoopUtilization();
    loads = [performance.eventLoopUtilization(now, mainLoad).utilization];
    mainLoad = now;
    const looked = [...members.values()];
    for (const member of looked) {
      const at = member.worker.performance.eventLoopUtilization();
      loads.push(member.worker.performance.eventLoopUtilization(at, member.load).utilization);
      member.load = at;
    }
    const uneven = evenness.look(loads);
    if (uneven === 0) for (const { carried } of units.values()) carried.proxy.letGo();
    else if (uneven !== undefined) looked[uneven - 1]?.worker.postMessage({ type: "letGo" } satisfies ToThread);
    if (isFixed) return;
    // Asked only where it may matter: an idle proxy reads no files each second.
    const times = loads.every((load) => load > 0.5) ? processorTimes() : undefined;
    const idleCores =
      before && times ? (cpus().length * (times.idle - before.idle)) / Math.max(1, times.all - before.all) : 0;
    before = times;
    const thread = freeNumber();
    if (!growth.look(loads, idleCores) || thread === undefined) return;
    log.info("a thread more, as load asks for it", { threads: members.size + 2 });
    start(thread);
    spread();
  };
  const freeNumber = () => {
    for (let thread = 1; thread < max; thread++) if (!members.has(thread) && !restarting.has(thread)) return thread;
    return undefined;
  };
  /** What is open stays where it is; new tunnels are dealt out anew. */
  const spread = () => {
    for (const { carried } of units.values()) carried.proxy.leave();
    toAll({ type: "spread" });
  };
  const timer = max > 1 ? setInterval(look, LOOK_MS) : undefined;
  timer?.unref();
  if (isFixed) for (let thread = 1; thread < max; thread++) start(thread);

  return {
    get size() {
      return members.size + 1;
    },
    get loads() {
      return loads;
    },
    add(unit) {
      units.set(unit.id, unit);
      nameLimits(unit);
      toAll({ type: "unit", unit: unit.id });
      unit.store.onChange((part) => {
        if (units.get(unit.id) !== unit) return;
        if (part === "spec") nameLimits(unit);
        toAll({ type: "part", unit: unit.id, part, value: unit.store.current[part] });
      });
    },
    stand(unit) {
      toAll({ type: "standing", unit: unit.id, at: standingAt(unit) });
    },
    async end(unit, drainMs) {
      units.delete(unit.id);
      const message = (id: number): ToThread => ({ type: "end", id, unit: unit.id, drainMs });
      const theirs = [...members.values()].map((member) => askOne(member, message, drainMs + ANSWER_MS));
      await Promise.all([unit.end(drainMs), ...theirs]);
    },
    async ask<T>(question: Question) {
      const message = (id: number): ToThread => ({ type: "ask", id, question });
      const answers = await Promise.all([...members.values()].map((member) => askOne(member, message, ANSWER_MS)));
      return answers.filter((answer) => answer !== undefined) as T[];
    },
    async close() {
      isClosed = true;
      clearInterval(timer);
      // Node spins for ever where it terminates a thread that has a TLS socket on its way out: each ends by itself.
      const left = [...members.values()].map(({ worker }) => once(worker, "exit"));
      toAll({ type: "leave" });
      await Promise.race([Promise.all(left), sleep(LEAVE_MS)]);
      for (const { worker } of members.values()) void worker.terminate();
    },
  };
}

/** Milliseconds of all processors of the machine since it started. */
function processorTimes(): { idle: number; all: number } {
  let [idle, all] = [0, 0];
  for (const { times } of cpus()) {
    idle += times.idle;
    for (const ms of Object.values(times)) all += ms;
  }
  return { idle, all };
}
