/** The bounds of an entry's metadata. */
import { InvalidArgumentError } from "@heddle/daemon";
import { problemList } from "./problem-list.ts";
import type { Meta } from "./types.ts";

const MAX_PAIRS = 64;
const MAX_KEY = 128;
const MAX_VALUE = 512;

/** Throws InvalidArgumentError with every key or value that is too long, in Consul's words. */
export function checkMeta(meta: Meta | undefined): void {
  const problems: string[] = [];
  const pairs = Object.entries(meta ?? {});
  if (pairs.length > MAX_PAIRS) problems.push(`Meta exceeds maximum element count ${MAX_PAIRS}`);
  for (const [key, value] of pairs) {
    if (key.length > MAX_KEY) problems.push(`Meta key ${JSON.stringify(key)} exceeds maximum length ${MAX_KEY}`);
    if (value.length > MAX_VALUE)
      problems.push(`Meta value for key ${JSON.stringify(key)} exceeds maximum length ${MAX_VALUE}`);
  }
  if (problems.length > 0) throw new InvalidArgumentError(problemList(problems));
}
