/** Where configuration comes from: files, directories in name order, pieces of HCL, variables, flags. */
import { lstatSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describeError } from "@heddle/daemon";
import { HclSyntaxError, MAX_TEXT_LENGTH, type ParsedDocument, parseHcl, parseJson, type Path } from "@heddle/hcl";

export interface FileSystem {
  /** The text of a file. Throws where it cannot be read. */
  readFile: (path: string) => string;
  /** The names in a directory, or undefined where `path` is not one. Throws where it cannot be read. */
  readDir: (path: string) => string[] | undefined;
}

/** One place that says something about the configuration. */
export interface Source {
  format: "hcl" | "json";
  value: Record<string, unknown>;
  /** Where the value at `path` stands: "agent.json:3:5", "-http-port". */
  place: (path: Path) => string;
  duplicates: ParsedDocument["duplicates"];
}

export const realFileSystem: FileSystem = {
  readFile: (path) => {
    const { size } = statSync(path);
    if (size > MAX_TEXT_LENGTH) throw new RangeError(`the file is longer than ${MAX_TEXT_LENGTH} bytes`);
    return readFileSync(path, "utf8");
  },
  readDir: (path) => {
    if (!statSync(path).isDirectory()) return undefined;
    // A name that leads nowhere is left in: reading it says why.
    return readdirSync(path).filter((name) => !isDirectory(join(path, name)));
  },
};

function isDirectory(path: string): boolean {
  return (statSync(path, { throwIfNoEntry: false }) ?? lstatSync(path)).isDirectory();
}

/** Reads what `-config-file` and `-config-dir` name. Directories are not followed further down, as in Consul. */
export function readSources(
  paths: readonly string[],
  format: string,
  files: FileSystem,
  report: (problem: string) => void,
): Source[] {
  const sources: Source[] = [];
  for (const path of paths) {
    try {
      const names = files.readDir(path);
      if (names === undefined) {
        if (formatOf(path, format) === undefined)
          report(`${path}: unknown kind of file: want a name that ends in .json or .hcl, or -config-format`);
        else sources.push(readSource(path, format, files));
        continue;
      }
      const inOrder = names.filter((name) => formatOf(name, format) !== undefined).sort(byBytes);
      for (const name of inOrder) {
        try {
          sources.push(readSource(join(path, name), format, files));
        } catch (error) {
          report(problemOf(join(path, name), error));
        }
      }
    } catch (error) {
      report(problemOf(path, error));
    }
  }
  return sources;
}

/** A piece of HCL from the command line. */
export function hclSource(text: string, name: string): Source {
  return toSource(parseHcl(text, name));
}

function readSource(path: string, format: string, files: FileSystem): Source {
  const text = files.readFile(path);
  return toSource(formatOf(path, format) === "json" ? parseJson(text, path) : parseHcl(text, path));
}

function toSource(document: ParsedDocument): Source {
  const { file, format, value, duplicates } = document;
  return {
    format,
    value,
    duplicates,
    place: (path) => {
      // A value that is missing has no place of its own: that of the block around it tells where to look.
      for (let depth = path.length; depth > 0; depth--) {
        const at = document.at(path.slice(0, depth));
        if (at) return `${file}:${at.line}:${at.column}`;
      }
      return file;
    },
  };
}

function formatOf(path: string, format: string): string | undefined {
  if (format) return format;
  return path.endsWith(".json") ? "json" : path.endsWith(".hcl") ? "hcl" : undefined;
}

export function problemOf(path: string, error: unknown): string {
  if (error instanceof HclSyntaxError) return error.message;
  return `${path}: cannot be read: ${describeError(error)}`;
}

const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));
