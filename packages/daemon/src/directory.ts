/** Folders that a daemon makes for itself. */
import { existsSync, mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { UnavailableError } from "./errors.ts";

const OWN_ONLY = 0o700;

/** Makes a folder and those above it, each for this user alone. Throws what the system says of the first that cannot be made. */
export function makeDirectory(path: string, mode = OWN_ONLY): void {
  // One by one: where a parent is there and the folder still cannot be made (below /proc), Node's `recursive` tries for ever (26.10.0).
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST" && statSync(path).isDirectory()) return;
    if (code !== "ENOENT" || existsSync(dirname(path))) throw error;
    makeDirectory(dirname(path), mode);
    makeDirectory(path, mode);
  }
}

/** The same for what a daemon keeps its state in. Throws UnavailableError that names the folder and what is in the way. */
export function makeDataDirectory(dir: string): void {
  try {
    makeDirectory(dir);
  } catch (cause) {
    throw cannotWrite(dir, cause);
  }
}

/** Says what to look for, with the system's own words behind it. */
export function cannotWrite(dir: string, cause: unknown): UnavailableError {
  const { code } = cause as NodeJS.ErrnoException;
  const why =
    code === "EEXIST" || code === "ENOTDIR"
      ? "it is a file, or below one"
      : "check that it exists, or can be made, and that this user may write there";
  return new UnavailableError(`cannot write the data directory ${dir}: ${why}`, { cause });
}
