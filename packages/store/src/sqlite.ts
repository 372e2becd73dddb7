/**
 * The SQLite backend: one file, written by a worker thread so that the event loop never waits for the disk. What queues up
 * while a transaction runs is committed by the next one (group commit).
 */
import { chmodSync, closeSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { Worker } from "node:worker_threads";
import { cannotWrite, type HeddleError, type Logger, makeDataDirectory, UnavailableError } from "@heddle/daemon";
import type { Backend, Commit, StoredRecord } from "./record.ts";
import type { FromWorker, ToWorker } from "./sqlite-worker.ts";

export interface SqliteOptions {
  /** The file; its folder is made where missing (0700), the file is 0600. */
  path: string;
  log: Logger;
  /** Called when a sync failed: what is on the disk is unknown, so the daemon must end. */
  onFatal: (error: Error) => void;
}

/** Opens the file and takes its lock. Throws UnavailableError, saying what to do, where it cannot. */
export async function sqliteBackend(options: SqliteOptions): Promise<Backend> {
  createPrivateFile(options.path);
  // The bundle holds the worker beside this module, as JavaScript.
  const source = import.meta.url.endsWith(".ts") ? "./sqlite-worker.ts" : "./sqlite-worker.mjs";
  const worker = new Worker(new URL(source, import.meta.url), { workerData: { path: options.path } });
  const waiting = new Map<number, { resolve: (message: FromWorker) => void; reject: (error: Error) => void }>();
  let nextId = 0;
  let ended: Error | undefined;

  const failAll = (error: Error) => {
    ended = error;
    for (const { reject } of waiting.values()) reject(error);
    waiting.clear();
  };
  worker.on("message", (message: FromWorker) => {
    const caller = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.type !== "failed") return caller?.resolve(message);
    const error = toError(message, options.path);
    caller?.reject(error);
    if (message.fatal) options.onFatal(error);
  });
  worker.on("error", (cause) => {
    failAll(new UnavailableError(`the store's thread ended (${options.path})`, { cause }));
    options.onFatal(cause as Error);
  });
  worker.on("exit", () => failAll(ended ?? new UnavailableError(`the store is closed (${options.path})`)));
  const ask = (message: ToWorker): Promise<FromWorker> =>
    new Promise((resolve, reject) => {
      if (ended) return reject(ended);
      waiting.set(message.id, { resolve, reject });
      worker.postMessage(message);
    });

  try {
    await ask({ id: nextId++, type: "open" });
  } catch (error) {
    await worker.terminate();
    throw error;
  }
  return {
    async load(each: (record: StoredRecord) => void) {
      const reply = await ask({ id: nextId++, type: "load" });
      if (reply.type !== "loaded") throw new Error(`unexpected reply '${reply.type}'`);
      for (const [table, key, value, createIndex, modifyIndex] of reply.rows)
        each({ table, key, value: JSON.parse(value) as unknown, createIndex, modifyIndex });
      if (reply.acknowledged > reply.revision)
        options.log.error(
          "writes that were acknowledged are lost: the database, or its log, was cut short, removed or replaced by an older one; going on with what it holds, restore a snapshot for the rest",
          { path: options.path, index: reply.revision, acknowledged: reply.acknowledged },
        );
      // No index is given out twice.
      return reply.acknowledged;
    },
    async append(commits: readonly Commit[]) {
      await ask({ id: nextId++, type: "append", revision: commits.at(-1)?.revision ?? 0, rows: toRows(commits) });
    },
    async close() {
      if (ended) return;
      await ask({ id: nextId++, type: "close" }).catch(() => {});
      await worker.terminate();
    },
  };
}

type Row = [table: string, key: string, value: string | null, createIndex: number, modifyIndex: number];

function toRows(commits: readonly Commit[]): Row[] {
  const last = new Map<string, Row>();
  for (const { changes } of commits) {
    for (const { table, key, after } of changes) {
      last.set(
        `${table}\0${key}`,
        after
          ? [table, key, JSON.stringify(after.value), after.createIndex, after.modifyIndex]
          : [table, key, null, 0, 0],
      );
    }
  }
  return [...last.values()];
}

function createPrivateFile(path: string): void {
  makeDataDirectory(dirname(path));
  try {
    closeSync(openSync(path, "a", 0o600));
    chmodSync(path, 0o600);
  } catch (cause) {
    throw cannotWrite(dirname(path), cause);
  }
}

function toError(message: Extract<FromWorker, { type: "failed" }>, path: string): HeddleError {
  switch (message.reason) {
    case "locked":
      return new UnavailableError(
        `the data directory ${dirname(path)} is in use by another process: end it, or give this one a data directory of its own`,
      );
    case "full":
      return new UnavailableError(
        `no room left on the disk of ${dirname(path)}: the write is refused, reads go on; free some space`,
      );
    case "readonly":
      return new UnavailableError(`the data directory ${dirname(path)} is read-only: this daemon must write there`);
    case "newer":
      return new UnavailableError(
        `the data in ${path} is of a newer version (${message.message}): start the newer heddle, or give another data directory`,
      );
    case "corrupt":
      return new UnavailableError(
        `${path} is not a readable database (${message.message}): restore it from a snapshot`,
      );
    case "other":
      return new UnavailableError(`the store failed: ${message.message} (${path})`);
  }
}
