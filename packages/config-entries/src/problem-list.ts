/** Problems as the list that Consul answers: "1 error occurred:" and a line for each. */
export function problemList(problems: readonly string[]): string {
  const lines = problems.slice(0, MAX_PROBLEMS).map((p) => `\t* ${p}\n`);
  return `${problems.length} error${problems.length === 1 ? "" : "s"} occurred:\n${lines.join("")}\n`;
}

const MAX_PROBLEMS = 100;
