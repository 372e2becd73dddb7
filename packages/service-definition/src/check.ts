import type { ParseOptions } from "./api.ts";
import type { CheckDefinition, CheckType } from "./types.ts";

/** Parses the body of `/v1/agent/check/register` (source "api", the default) or a `check` block of a file. */
export function parseCheckDefinition(_input: unknown, _options: ParseOptions = {}): CheckDefinition {
  throw new Error("being written");
}
export function checkType(_check: CheckDefinition): CheckType {
  throw new Error("being written");
}
