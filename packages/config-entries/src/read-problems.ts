/** What is wrong with a config entry as it was given, in the words of Consul's decoder. */
import { InvalidArgumentError } from "@heddle/daemon";
import { problemList } from "./problem-list.ts";

const MAX_SHOWN = 20;

export class ReadProblems {
  readonly #wrong: string[] = [];
  readonly #unknown: string[] = [];

  /** A value that does not fit. */
  wrong(text: string): undefined {
    this.#wrong.push(text);
  }

  /** A key that nobody knows. */
  unknown(text: string): void {
    this.#unknown.push(text);
  }

  throwIfAny(): void {
    if (this.#wrong.length > 0) {
      const lines = this.#wrong
        .toSorted()
        .slice(0, MAX_SHOWN)
        .map((line) => `* ${line}`);
      throw new InvalidArgumentError(`${this.#wrong.length} error(s) decoding:\n\n${lines.join("\n")}`);
    }
    if (this.#unknown.length > 0) throw new InvalidArgumentError(problemList(this.#unknown));
  }
}

/** An unknown key by its path; namespaces are told apart, for clients of the Enterprise version send them. */
export function formatUnknown(path: string): string {
  const why = path.toLowerCase().endsWith("namespace") ? ", namespaces are a consul enterprise feature" : "";
  return `invalid config key ${JSON.stringify(path)}${why}`;
}

/** What Go calls the type of a value. */
export function goKind(value: unknown, full = false): string {
  if (Array.isArray(value)) return full ? "[]interface {}" : "slice";
  if (typeof value === "string") return "string";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "object" && value !== null) return full ? "map[string]interface {}" : "map";
  return "float64";
}
