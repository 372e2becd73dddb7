/**
 * RE2 for `matches`: linear in the text whatever the pattern, so that nobody stalls a daemon with one. The engine is loaded
 * when the first filter needs it.
 */
import type { RE2JS } from "re2js";
import { FilterError } from "./errors.ts";

const MAX_PATTERN = 1_000; // characters: patterns of people are shorter, and the time of a match grows with this

let engine: typeof RE2JS | undefined;

/** Whether an expression may hold a pattern, and the engine is not there yet. */
export const needsRegexps = (expression: string): boolean => engine === undefined && expression.includes("matches");

/** Makes the engine ready for `compileFilter`. */
export async function loadRegexps(): Promise<void> {
  engine ??= (await import("re2js")).RE2JS;
}

/** Whether a text matches anywhere. Throws FilterError with RE2's words. */
export function compilePattern(pattern: string): (text: string) => boolean {
  if (!engine) throw new Error("the RE2 engine is not loaded: await loadRegexps() first");
  if (pattern.length > MAX_PATTERN)
    throw new FilterError(`regular expression is ${pattern.length} characters long: the limit is ${MAX_PATTERN}`);
  try {
    const compiled = engine.compile(pattern);
    return (text) => compiled.matcher(text).find();
  } catch (cause) {
    throw new FilterError(
      `Failed to compile regular expression ${JSON.stringify(pattern)}: ${(cause as Error).message}`,
      { cause },
    );
  }
}
