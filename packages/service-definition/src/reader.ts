/**
 * What the parsers share: where problems go, and how they are worded. A request gets Consul's own words and the first
 * problem, as its clients know them; a file gets every problem, each with its path.
 */
import { InvalidArgumentError } from "@heddle/daemon";
import { type AnyField, decode, describeProblem, formatPath, type Path, type Problem, type Value } from "@heddle/hcl";

export interface ParseOptions {
  /** Where the input stands, for messages: "services[0]". */
  path?: string;
  /** "api" (default): a request body, with Consul's messages; "file": a block of a file, every problem at once. */
  source?: "api" | "file";
}

/** What is wrong, and where in the input. */
export interface Finding {
  path: Path;
  message: string;
}

export class Reader {
  readonly source: "api" | "file";
  readonly #report: (finding: Finding) => void;
  readonly #blocks: boolean;
  /** True once something was reported. */
  hasFailed = false;

  constructor(source: "api" | "file", report: (finding: Finding) => void, blocks = false) {
    this.source = source;
    this.#report = report;
    this.#blocks = blocks;
  }

  decode<F extends AnyField>(field: F, input: unknown, path: Path): Value<F> | undefined {
    const isRequest = this.source === "api";
    const report = (problem: Problem) =>
      this.fail(
        problem.path,
        isRequest ? `Request decode failed: ${goMessage(problem)}` : describeProblem(problem),
        true,
      );
    return decode(field, input, report, { isRequest, blocks: this.#blocks }, path);
  }

  /** Reports `message`; a file's message gets its path in front, unless it names it already. */
  fail(path: Path, message: string, isComplete = false): void {
    this.hasFailed = true;
    const at = this.source === "file" && !isComplete ? formatPath(path) : "";
    this.#report({ path, message: at ? `${at}: ${message}` : message });
  }
}

/** Runs a parser and throws InvalidArgumentError with what it found. */
export function parseWith<T>(options: ParseOptions, parse: (reader: Reader) => T): T {
  const { source = "api", path = "" } = options;
  const found: Finding[] = [];
  const value = parse(new Reader(source, (finding) => found.push(finding)));
  if (found.length === 0) return value;
  const prefix = path && source === "file" ? `${path}: ` : "";
  const messages = source === "api" ? found.slice(0, 1) : found;
  throw new InvalidArgumentError(messages.map((f) => prefix + f.message).join("\n"));
}

const GO_TYPES: Record<AnyField["type"], string> = {
  any: "interface {}",
  boolean: "bool",
  duration: "string",
  integer: "int",
  list: "[]string",
  map: "map[string]string",
  number: "float64",
  object: "struct",
  string: "string",
};

/** A decoding problem in the words of Go's encoding/json, which clients of Consul have in their logs and tests. */
function goMessage(problem: Problem): string {
  if (problem.kind === "unknown_key") return `json: unknown field ${JSON.stringify(problem.found)}`;
  if (problem.kind === "wrong_type" || problem.field?.type !== "duration") {
    const keys = problem.path.filter((key) => typeof key === "string");
    // Go names the struct's field; of a map, the field that holds the map.
    const field =
      problem.field?.type === "string" && MAP_KEYS.has((keys.at(-2) ?? "").toLowerCase()) ? keys.slice(0, -1) : keys;
    const into = field.length === 0 ? "value" : `struct field .${field.join(".")}`;
    return `json: cannot unmarshal ${jsonType(problem.found)} into Go ${into} of type ${GO_TYPES[problem.field?.type ?? "any"]}`;
  }
  return `time: invalid duration ${JSON.stringify(problem.found)}`;
}

const MAP_KEYS = new Set(["meta"]);

function jsonType(value: unknown): string {
  if (Array.isArray(value)) return "array";
  return typeof value === "boolean" ? "bool" : typeof value === "bigint" ? "number" : typeof value;
}

/** Several problems of one service as Go's multierror prints them. */
export function multiError(messages: string[]): string {
  const head = messages.length === 1 ? "1 error occurred:" : `${messages.length} errors occurred:`;
  return `${head}\n${messages.map((m) => `\t* ${m}\n`).join("")}\n`;
}
