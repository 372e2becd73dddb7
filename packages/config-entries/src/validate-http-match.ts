/** What routes and rules on requests have in common: a path matched in one way, headers each matched in one way. */
import { InvalidArgumentError } from "@heddle/daemon";
import type { HeaderMatch } from "./types-routing.ts";

const fail = (text: string): never => {
  throw new InvalidArgumentError(text);
};

type Paths = { PathExact?: string; PathPrefix?: string; PathRegex?: string };

/** `dot` stands between where the match is and the name of a key. */
export function checkPaths(match: Paths, where: string, dot: "." | " "): void {
  for (const key of ["PathExact", "PathPrefix"] as const) {
    const path = match[key];
    if (path && !path.startsWith("/")) fail(`${where}${dot}${key} doesn't start with '/': ${JSON.stringify(path)}`);
  }
  if ([match.PathExact, match.PathPrefix, match.PathRegex].filter(Boolean).length > 1)
    fail(`${where} should only contain at most one of PathExact, PathPrefix, or PathRegex`);
}

export function checkHeader(header: HeaderMatch, where: string): void {
  if (header.Name === "") fail(`${where} missing required Name field`);
  if ([header.Present, header.Exact, header.Prefix, header.Suffix, header.Regex].filter(Boolean).length !== 1)
    fail(`${where} should only contain one of Present, Exact, Prefix, Suffix, or Regex`);
}
