/**
 * A further thread of a proxy, which carries connections as the main one does. It watches nothing: what it knows is what the
 * main thread tells it, and it asks nobody else.
 */
import { parentPort, workerData } from "node:worker_threads";
import { ApiError } from "@heddle/api-client";
import { createLogHub, createRegistry, type Logger } from "@heddle/daemon";
import {
  createCarrier,
  createDecisionReports,
  createSharedCounts,
  createSnapshotStore,
  type HostPort,
  type WantedListener,
} from "@heddle/data-plane";
import { viewCarried, viewConnections, viewInstances } from "../admin/views.ts";
import type { Listeners } from "../listeners.ts";
import { createUnit, type Unit } from "../unit.ts";
import type { FromThread, Question, ThreadData, ToThread } from "./messages.ts";

const { thread, memory, logLevel, logFormat } = workerData as ThreadData;
const tell = (message: FromThread) => parentPort?.postMessage(message);

// Lines of one turn go over in one message. What the main thread says of the same snapshot is not said again: errors are.
let lines = "";
const write = (line: string) => {
  if (lines === "")
    setImmediate(() => {
      tell({ type: "log", text: lines });
      lines = "";
    });
  lines += line;
};
const logAt = (level: typeof logLevel): Logger => createLogHub({ level, format: logFormat, write }).log.child("proxy");

const posts = new Map<number, (status?: number) => void>();
let lastPost = 0;
const reports = createDecisionReports({
  post: (path, { body }) =>
    new Promise((resolve, reject) => {
      const id = ++lastPost;
      posts.set(id, (status) => {
        if (status === undefined) resolve(undefined);
        else reject(new ApiError("POST", path, status, ""));
      });
      tell({ type: "post", id, path, body });
    }),
});

const registry = createRegistry("connect-proxy");
const counts = createSharedCounts(memory, thread);
const log = logAt("error");
const carrier = createCarrier({
  registry,
  worker: String(thread),
  log,
  accessLog: logAt(logLevel).child("access"),
  reports,
  counts,
});
const units = new Map<string, { unit: Unit; standing: (at: Map<string, HostPort>) => void }>();

/** Listeners stand where the main thread's do, which has made sure that the port is ours; its port 0 is a port here. */
function followMain(listeners: Listeners) {
  let wanted: WantedListener[] = [];
  let standing = new Map<string, HostPort>();
  const stand = () =>
    listeners.want(
      wanted.flatMap((listener) => {
        const bind = standing.get(listener.name);
        return bind ? [{ ...listener, bind }] : [];
      }),
    );
  return {
    want(listeners: WantedListener[]) {
      wanted = listeners;
      stand();
    },
    standing(at: Map<string, HostPort>) {
      standing = at;
      stand();
    },
  };
}

function addUnit(id: string): void {
  let standing = (_at: Map<string, HostPort>): void => {};
  const unit = createUnit({
    id,
    store: createSnapshotStore(),
    carrier,
    log,
    mayShare: () => true,
    filter(listeners) {
      const followed = followMain(listeners);
      standing = (at) => followed.standing(at);
      return followed;
    },
  });
  units.set(id, { unit, standing });
}

async function answer(question: Question): Promise<unknown> {
  switch (question.about) {
    case "metrics":
      return registry.getMetricsAsJSON();
    case "carried":
      return viewCarried(carrier);
    case "offered":
      return [...units.values()].flatMap(({ unit }) => unit.listeners.offered());
    case "connections":
      return viewConnections(carrier, thread, question.limit);
    case "instances":
      return viewInstances(carrier);
  }
}

function receive(message: ToThread): void {
  switch (message.type) {
    case "names":
      for (const [key, column] of message.columns) counts.name(key, column);
      break;
    case "unit":
      addUnit(message.unit);
      break;
    case "part":
      units.get(message.unit)?.unit.store.set(message.part, message.value);
      break;
    case "standing":
      units.get(message.unit)?.standing(new Map(message.at));
      break;
    case "end":
      void endUnit(message.unit, message.drainMs).then(() =>
        tell({ type: "answer", id: message.id, value: undefined }),
      );
      break;
    case "spread":
      for (const { unit } of units.values()) unit.carried.proxy.leave();
      break;
    case "letGo":
      for (const { unit } of units.values()) unit.carried.proxy.letGo();
      break;
    case "ask":
      void answer(message.question).then((value) => tell({ type: "answer", id: message.id, value }));
      break;
    case "posted":
      posts.get(message.id)?.(message.status);
      posts.delete(message.id);
      break;
    case "leave":
      void leave();
  }
}

async function leave(): Promise<void> {
  carrier.close();
  for (const answer of posts.values()) answer(503); // nobody will tell the agent any more
  await reports.close();
  setImmediate(() => parentPort?.close()); // behind the last lines
}

async function endUnit(id: string, drainMs: number): Promise<void> {
  const known = units.get(id);
  units.delete(id);
  await known?.unit.end(drainMs);
}

parentPort?.on("message", receive);
tell({ type: "ready" });
