/**
 * Merging as Consul does: later overrides earlier, lists append, maps and blocks merge. Remembers which place said what, so
 * that a rule broken by two files together can still be told with its line.
 */
import { type AnyField, decode, describeProblem, members, type Path } from "@heddle/hcl";
import { configField, type RawConfig } from "./keys.ts";
import type { Source } from "./sources.ts";

export class Merged {
  readonly config: RawConfig = {};
  readonly #places = new Map<string, string>();

  /** Adds what `source` says; a value that is not accepted is reported and left out. */
  add(source: Source, report: (problem: string) => void): void {
    const raw = decode(
      configField,
      source.value,
      (problem) => report(`${source.place(problem.path)}: ${describeProblem(problem)}`),
      { blocks: source.format === "hcl" },
    );
    this.#merge(this.config, raw ?? {}, configField, "", source);
  }

  /** Where `key` ("ports.http") was said last, with ": " behind it; empty for a default. */
  place(key: string): string {
    const place = this.#places.get(key);
    return place === undefined ? "" : `${place}: `;
  }

  /** The keys that were given anywhere, with their places, blocks as well as what is in them. */
  given(): [key: string, place: string][] {
    return [...this.#places];
  }

  #merge(
    into: Record<string, unknown>,
    from: Record<string, unknown>,
    field: AnyField,
    prefix: string,
    source: Source,
  ): void {
    for (const [name, value] of Object.entries(from)) {
      const member = members(field)[name] as AnyField;
      const key = prefix + name;
      this.#places.set(key, source.place(pathOf(key, source.value)));
      if (DEFINITIONS.has(key)) continue;
      const before = into[name];
      if (member.type === "object") {
        const block = (before ?? {}) as Record<string, unknown>;
        into[name] = block;
        this.#merge(block, value as Record<string, unknown>, member, `${key}.`, source);
      } else if (member.type === "list")
        into[name] = [...((before as unknown[] | undefined) ?? []), ...(value as unknown[])];
      else if (member.type === "map") into[name] = Object.assign(Object.create(null), before, value);
      else into[name] = value;
    }
  }
}

// definitions.ts reads these from the documents themselves, with their places.
const DEFINITIONS = new Set(["check", "checks", "service", "services"]);

/** The path of `key` in the document, where keys may be spelt with capitals and a block may be a list of one. */
function pathOf(key: string, value: unknown): Path {
  const path: (string | number)[] = [];
  let at = value;
  for (const name of key.split(".")) {
    if (Array.isArray(at)) {
      path.push(0);
      at = at[0] as unknown;
    }
    if (typeof at !== "object" || at === null) return path;
    const spelt = Object.keys(at).find((k) => k.toLowerCase() === name);
    if (spelt === undefined) return path;
    path.push(spelt);
    at = (at as Record<string, unknown>)[spelt];
  }
  return path;
}
