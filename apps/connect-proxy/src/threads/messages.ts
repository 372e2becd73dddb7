/** What the main thread of a proxy and those that carry with it tell each other. */
import type { HostPort, Snapshot, SnapshotPart } from "@heddle/data-plane";
import type { LogFormat, LogLevel } from "@heddle/daemon";

/** What a thread is started with. */
export interface ThreadData {
  /** From 1: the main thread is 0. */
  thread: number;
  /** Of `createSharedCounts`. */
  memory: SharedArrayBuffer;
  logLevel: LogLevel;
  logFormat: LogFormat;
}

export type ToThread =
  /** Keys of limits and their columns, before what counts by them. */
  | { type: "names"; columns: [string, number][] }
  | { type: "unit"; unit: string }
  /** A part of a unit's snapshot has changed. */
  | { type: "part"; unit: string; part: SnapshotPart; value: Snapshot[SnapshotPart] }
  /** Where the unit's listeners stand in the main thread, by name: here they stand there, too. */
  | { type: "standing"; unit: string; at: [string, HostPort][] }
  /** Answered once the unit has ended, with nothing. */
  | { type: "end"; id: number; unit: string; drainMs: number }
  /** Tells callers to make new tunnels, so that further threads get some. */
  | { type: "spread" }
  /** It works and others do not: some callers are to make new tunnels. */
  | { type: "letGo" }
  | { type: "ask"; id: number; question: Question }
  | { type: "posted"; id: number; status?: number }
  /** The thread ends by itself, once it has nothing open. */
  | { type: "leave" };

export type FromThread =
  | { type: "ready" }
  | { type: "answer"; id: number; value: unknown }
  /** Lines for standard output. */
  | { type: "log"; text: string }
  /** What the agent is to be told. */
  | { type: "post"; id: number; path: string; body: unknown };

export type Question =
  | { about: "metrics" }
  | { about: "offered" }
  | { about: "carried" }
  | { about: "connections"; limit: number }
  | { about: "instances" };
