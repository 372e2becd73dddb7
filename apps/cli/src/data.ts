/** Data that a command is given: as it stands, from standard input (`-`) or from a file (`@path`). */
import { readFileSync } from "node:fs";
import { CommandError } from "./command.ts";
import type { Terminal } from "./terminal.ts";

export async function readData(argument: string, terminal: Terminal): Promise<Buffer> {
  if (argument === "-") return terminal.readStdin();
  if (argument.startsWith("@")) return readBytes(argument.slice(1), "Error! Failed to read file");
  return Buffer.from(argument);
}

/** Throws CommandError "<what>: open <path>: no such file or directory". */
export function readBytes(path: string, what: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new CommandError(`${what}: open ${path}: ${fileProblem(cause)}`, 1, { cause });
  }
}

export function fileProblem(error: unknown): string {
  const known: Record<string, string> = {
    EACCES: "permission denied",
    EEXIST: "file exists",
    EISDIR: "is a directory",
    ENOENT: "no such file or directory",
    ENOTDIR: "not a directory",
  };
  return known[(error as NodeJS.ErrnoException).code ?? ""] ?? (error as Error).message;
}
