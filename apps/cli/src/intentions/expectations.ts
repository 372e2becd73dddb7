/** Expectations of rules as text, one a line: `web -> db: deny`. `#` and `//` begin comments; `=>` is read as `->`. */
import { InvalidArgumentError } from "@heddle/daemon";

export interface Expectation {
  line: number;
  source: string;
  destination: string;
  allowed: boolean;
}

export const MAX_EXPECTATIONS = 100_000;
const MAX_NAME = 1_024;
const FORM = /^([^\s:]+)\s*[-=]>\s*([^\s:]+)\s*:\s*(\S+)$/;

/** Reads all lines. Throws InvalidArgumentError with every problem and its line. */
export function parseExpectations(text: string): Expectation[] {
  const found: Expectation[] = [];
  const problems: string[] = [];
  for (const [i, raw] of text.split("\n").entries()) {
    const line = raw.replace(/(?:^|\s)(?:#|\/\/).*$/, "").trim();
    if (line === "") continue;
    const [, source = "", destination = "", verdict = ""] = FORM.exec(line) ?? [];
    if (source === "")
      problems.push(`line ${i + 1}: ${show(line)} is no expectation, want one such as "web -> db: deny"`);
    else if (verdict !== "allow" && verdict !== "deny")
      problems.push(`line ${i + 1}: ${show(verdict)} is no outcome, want allow or deny`);
    else if (source.length > MAX_NAME || destination.length > MAX_NAME)
      problems.push(`line ${i + 1}: a name is longer than ${MAX_NAME} characters`);
    else found.push({ line: i + 1, source, destination, allowed: verdict === "allow" });
    if (found.length > MAX_EXPECTATIONS) problems.push(`more than ${MAX_EXPECTATIONS} expectations`);
    if (problems.length >= MAX_PROBLEMS || found.length > MAX_EXPECTATIONS) break;
  }
  if (problems.length > 0) throw new InvalidArgumentError(problems.join("\n"));
  return found;
}

const MAX_PROBLEMS = 20;
const show = (text: string): string => JSON.stringify(text.length > 100 ? `${text.slice(0, 100)}…` : text);
