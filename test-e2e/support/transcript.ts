/**
 * What a client got for each of its calls, told the same way for two servers: values that differ between any two of them
 * (ids, indexes, times, ports, what a machine is) become their type.
 */
export interface Transcript {
  /** Notes what a call resolved or was rejected with, and returns the value (undefined where it was rejected). */
  step<T>(name: string, call: () => Promise<T>): Promise<T | undefined>;
  readonly lines: Map<string, unknown>;
}

/** What the npm client rejects with. */
interface Rejection extends Error {
  statusCode?: number;
  response?: { body?: { toString(): string } };
}

export function createTranscript(): Transcript {
  const lines = new Map<string, unknown>();
  return {
    lines,
    async step(name, call) {
      if (lines.has(name)) throw new Error(`two steps are named '${name}'`);
      try {
        const value = await call();
        lines.set(name, normalise(value));
        return value;
      } catch (error) {
        const { message, statusCode, response } = error as Rejection;
        lines.set(name, normalise({ error: message, status: statusCode, body: response?.body?.toString() }));
        return undefined;
      }
    },
  };
}

const VOLATILE = /^(?:.*Index|ID|LTime|LockIndex|CreateTime|SerialNumber|ServerPort|Elapsed|KnownLeader|LastContact)$/;

/** A value as JSON has it, with what is volatile by its type. */
export function normalise(value: unknown, key = ""): unknown {
  if (typeof value === "string")
    return value
      .replace(/\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/g, "<uuid>")
      .replace(/\b127\.0\.0\.1:\d+\b/g, "<address>");
  if (typeof value === "number" && VOLATILE.test(key)) return "<number>";
  if (Array.isArray(value)) return value.map((item) => normalise(item));
  if (typeof value !== "object" || value === null) return value;
  if (Buffer.isBuffer(value)) return `bytes:${value.toString("hex")}`;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([name, item]) => [name, normalise(item, name)]));
}

/** The names of steps whose lines differ, with both. */
export function differences(ours: Transcript["lines"], theirs: Transcript["lines"]): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const name of new Set([...ours.keys(), ...theirs.keys()])) {
    const [a, b] = [ours.get(name), theirs.get(name)];
    if (!covers(a, b)) found[name] = { heddle: a, consul: b };
  }
  return found;
}

/** Whether `ours` has all that `theirs` has: further keys of an object are no difference. */
function covers(ours: unknown, theirs: unknown): boolean {
  if (Array.isArray(theirs))
    return Array.isArray(ours) && ours.length === theirs.length && theirs.every((item, i) => covers(ours[i], item));
  if (typeof theirs !== "object" || theirs === null) return Object.is(ours, theirs);
  if (typeof ours !== "object" || ours === null || Array.isArray(ours)) return false;
  return Object.entries(theirs).every(([key, item]) => covers((ours as Record<string, unknown>)[key], item));
}
