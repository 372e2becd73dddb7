/**
 * The newest revision that was acknowledged, in a small file beside a database: written after each commit and never synced, so it is
 * behind what is durable or at it. A database that opens below its mark has lost what it had promised, which it cannot know by itself.
 */
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";

const BYTES = 17;

export interface Mark {
  /** 0 where there is none, or none that can be read. */
  read(): number;
  write(revision: number): void;
  close(): void;
}

/** Where the file cannot be had there is no mark: no commit fails for it. */
export function openMark(path: string): Mark {
  let file: number | undefined;
  try {
    file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  } catch {
    // a full disk: without it
  }
  return {
    read() {
      const bytes = Buffer.alloc(BYTES);
      if (file === undefined || readSync(file, bytes, 0, BYTES, 0) < BYTES) return 0;
      const text = bytes.toString("latin1");
      return /^\d{16}\n$/.test(text) ? Number(text) : 0;
    },
    write(revision) {
      try {
        if (file !== undefined) writeSync(file, `${String(revision).padStart(16, "0")}\n`, 0);
      } catch {
        // the one before stays, which is behind
      }
    },
    close() {
      if (file !== undefined) closeSync(file);
      file = undefined;
    },
  };
}
