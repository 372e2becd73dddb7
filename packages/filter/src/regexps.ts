/**
 * RE2 for `matches`: linear in the text whatever the pattern, so that nobody stalls a daemon with one. The engine is loaded
 * when the first filter needs it.
 */
import type { RE2JS } from "re2js";
import { FilterError } from "./errors.ts";

const MAX_PATTERN = 1_000; // characters: patterns of people are shorter, and the time of a match grows with this

const MAX_INSTRUCTIONS = 1_500; // what counted repetitions unfold to: [a-z]{1000} is 1,003
// All matches of one turn of the event loop, in which nobody else is served: what a pattern may take, and more for each text, so that
// plain patterns fit on 100,000 rows and odd ones are given up early on 1,000.
const MAX_TURN_MS = 40;
const MAX_TEXT_MS = 0.002;

let engine: typeof RE2JS | undefined;

/** Whether an expression may hold a pattern, and the engine is not there yet. */
export const needsRegexps = (expression: string): boolean => engine === undefined && expression.includes("matches");

/** Makes the engine ready for `compileFilter`. */
export async function loadRegexps(): Promise<void> {
  engine ??= (await import("re2js")).RE2JS;
}

/** Whether a text matches anywhere. Throws FilterError with RE2's words. */
export function compilePattern(pattern: string): (text: string) => boolean {
  const compiled = compileBounded(pattern);
  return (text) => timed(() => compiled.matcher(text).find(), pattern);
}

/** The first match in a text and its groups, "" for those that took no part; undefined where nothing matches. Throws FilterError. */
export function compileGroups(pattern: string): (text: string) => string[] | undefined {
  const compiled = compileBounded(pattern);
  return (text) =>
    timed(() => {
      const matcher = compiled.matcher(text);
      if (!matcher.find()) return undefined;
      return Array.from({ length: matcher.groupCount() + 1 }, (_, i) => matcher.group(i) ?? "");
    }, pattern);
}

function compileBounded(pattern: string): RE2JS {
  if (!engine) throw new Error("the RE2 engine is not loaded: await loadRegexps() first");
  if (pattern.length > MAX_PATTERN)
    throw new FilterError(`regular expression is ${pattern.length} characters long: the limit is ${MAX_PATTERN}`, {
      status: 400,
    });
  const compiled = compileRe2(engine, pattern);
  if (compiled.programSize() > MAX_INSTRUCTIONS)
    throw new FilterError(
      `regular expression unfolds to ${compiled.programSize()} instructions: the limit is ${MAX_INSTRUCTIONS}`,
      { status: 400 },
    );
  return compiled;
}

let turnMs = 0;
let limitMs = MAX_TURN_MS;
let turnBegan: NodeJS.CpuUsage | undefined;
/** Linear is not yet fast: thousands of rows and an odd pattern together could still take seconds. */
function timed<T>(match: () => T, pattern: string): T {
  if (!turnBegan) {
    turnBegan = process.threadCpuUsage();
    setImmediate(() => {
      turnMs = 0;
      limitMs = MAX_TURN_MS;
      turnBegan = undefined;
    });
  }
  const start = performance.now();
  const result = match();
  turnMs += performance.now() - start;
  limitMs += MAX_TEXT_MS;
  // On a busy machine time passes that nobody has had: only what this thread has computed is held against a pattern.
  if (turnMs > limitMs && cpuMs(turnBegan) > limitMs) {
    throw new FilterError(
      `regular expression ${JSON.stringify(pattern)} takes too long on this many rows: the limit is ${Math.ceil(limitMs)} ms`,
      { status: 400 },
    );
  }
  return result;
}

function cpuMs(began: NodeJS.CpuUsage): number {
  const { user, system } = process.threadCpuUsage(began);
  return (user + system) / 1_000;
}

function compileRe2(re2: typeof RE2JS, pattern: string): RE2JS {
  try {
    return re2.compile(pattern);
  } catch (cause) {
    throw new FilterError(
      `Failed to compile regular expression ${JSON.stringify(pattern)}: ${(cause as Error).message}`,
      { cause },
    );
  }
}
