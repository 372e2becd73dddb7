/** The thread that owns the SQLite file: opens, replays and appends. Nothing here runs on the event loop of the daemon. */
import { DatabaseSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";
import { openMark } from "./mark.ts";

const SCHEMA_VERSION = 1;

export type Row = [table: string, key: string, value: string | null, createIndex: number, modifyIndex: number];

export type ToWorker =
  | { id: number; type: "open" }
  | { id: number; type: "load" }
  | { id: number; type: "append"; revision: number; rows: Row[] }
  | { id: number; type: "close" };

export type FailureReason = "locked" | "full" | "readonly" | "newer" | "corrupt" | "other";

export type FromWorker =
  | { id: number; type: "done" }
  | {
      id: number;
      type: "loaded";
      revision: number;
      /** What was acknowledged last; above `revision` where the database has lost something. */
      acknowledged: number;
      rows: [string, string, string, number, number][];
    }
  | { id: number; type: "failed"; reason: FailureReason; message: string; fatal: boolean };

if (parentPort) serve(parentPort, (workerData as { path: string }).path);

function serve(port: NonNullable<typeof parentPort>, path: string): void {
  let database: ReturnType<typeof openDatabase> | undefined;
  port.on("message", (message: ToWorker) => {
    try {
      if (message.type === "open") database = openDatabase(path);
      else if (message.type === "append") database?.append(message.revision, message.rows);
      else if (message.type === "close") database?.close();
      if (message.type === "load" && database) port.postMessage({ id: message.id, type: "loaded", ...database.load() });
      else port.postMessage({ id: message.id, type: "done" });
    } catch (error) {
      port.postMessage({ id: message.id, type: "failed", ...toFailure(error) });
    }
  });
}

function openDatabase(path: string) {
  const db = new DatabaseSync(path, { timeout: 500 });
  try {
    // The lock lives as long as the connection: a second daemon on the same directory is refused, kill -9 releases it.
    db.exec("PRAGMA locking_mode = EXCLUSIVE");
    db.exec("PRAGMA journal_mode = WAL");
    db.exec("PRAGMA synchronous = FULL"); // NORMAL lost acknowledged writes in power cuts (SECURITY.md, fact 4)
    db.exec("BEGIN IMMEDIATE");
    const { user_version: version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
    if (version > SCHEMA_VERSION) throw new NewerSchemaError(`schema ${version}, this heddle knows ${SCHEMA_VERSION}`);
    // Only where something is new: a start on a full disk must not need a byte of it.
    if (version < SCHEMA_VERSION) createTables(db);
    db.exec("COMMIT");
  } catch (error) {
    db.close();
    throw error;
  }
  const mark = openMark(`${path}-mark`);
  const put = db.prepare("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)");
  const remove = db.prepare("DELETE FROM records WHERE tbl = ? AND key = ?");
  const setRevision = db.prepare("INSERT OR REPLACE INTO meta VALUES ('revision', ?)");
  return {
    load() {
      const revision =
        (db.prepare("SELECT value FROM meta WHERE name = 'revision'").get() as { value: number } | undefined)?.value ??
        0;
      const query = db.prepare("SELECT tbl, key, value, create_index, modify_index FROM records");
      query.setReturnArrays(true);
      const acknowledged = Math.max(revision, mark.read());
      return { revision, acknowledged, rows: query.all() as unknown as [string, string, string, number, number][] };
    },
    append(revision: number, rows: Row[]) {
      db.exec("BEGIN IMMEDIATE");
      try {
        for (const [table, key, value, createIndex, modifyIndex] of rows) {
          if (value === null) remove.run(table, key);
          else put.run(table, key, value, createIndex, modifyIndex);
        }
        setRevision.run(revision);
        db.exec("COMMIT");
        mark.write(revision);
      } catch (error) {
        try {
          db.exec("ROLLBACK");
        } catch {
          // SQLite has rolled back by itself; the first error is the one that tells.
        }
        throw error;
      }
    },
    close() {
      db.close();
      mark.close();
    },
  };
}

function createTables(db: DatabaseSync): void {
  db.exec(`CREATE TABLE IF NOT EXISTS records (
    tbl TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, create_index INTEGER NOT NULL, modify_index INTEGER NOT NULL,
    PRIMARY KEY (tbl, key)) WITHOUT ROWID`);
  db.exec("CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID");
  db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
}

class NewerSchemaError extends Error {}

// SQLite result codes, https://sqlite.org/rescode.html
const SQLITE_BUSY = 5;
const SQLITE_READONLY = 8;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_CANTOPEN = 14;
const SQLITE_NOTADB = 26;
const IOERR_FSYNCS = new Set([1034, 1290]); // SQLITE_IOERR_FSYNC, SQLITE_IOERR_DIR_FSYNC
const IOERR_NO_ROOM = new Set([778, 4874]); // SQLITE_IOERR_WRITE, SQLITE_IOERR_SHMSIZE: what a full disk can look like

function toFailure(error: unknown): { reason: FailureReason; message: string; fatal: boolean } {
  const message = (error as Error).message;
  const code = (error as { errcode?: number }).errcode ?? 0;
  const fatal = IOERR_FSYNCS.has(code);
  if (error instanceof NewerSchemaError) return { reason: "newer", message, fatal };
  switch (code & 0xff) {
    case SQLITE_BUSY:
      return { reason: "locked", message, fatal };
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return { reason: "readonly", message, fatal };
    case SQLITE_FULL:
      return { reason: "full", message, fatal };
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return { reason: "corrupt", message, fatal };
    case SQLITE_IOERR:
      return { reason: IOERR_NO_ROOM.has(code) ? "full" : "other", message: `${message} (code ${code})`, fatal };
    default:
      return { reason: "other", message, fatal };
  }
}
