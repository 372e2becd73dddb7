/**
 * Everything that has to hold: types, lint, boundaries, audit, unit and end-to-end tests with their coverage, the article's
 * mesh, conformance. Ends with one line, `N passed, N failed`; the exit status is 1 if anything failed.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const bin = join(root, "node_modules/.bin");
const work = mkdtempSync(join(tmpdir(), "heddle-test-"));
const report = join(work, "vitest.json");
const env = {
  ...process.env,
  PATH: `${bin}${delimiter}${process.env["PATH"] ?? ""}`,
  TURBO_TELEMETRY_DISABLED: "1",
  TURBO_NO_UPDATE_NOTIFIER: "1",
};

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}
const total: Tally = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];
const flaky: string[] = [];
const MAX_RETRIED = 2; // files: more than that is no accident

// Static checks are short and busy, the tests are long and mostly wait: they go side by side.
const staticsDone = statics();
await Promise.all([staticsDone, tests()]);
await conformance();
rmSync(work, { recursive: true, force: true });
for (const name of flaky) console.log(`FLAKY  failed, and passed when run again: ${name}`);
if (failures.length > 0) console.log(`\nFailed: ${failures.join(", ")}`);
console.log(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ""}`);
process.exit(total.failed > 0 ? 1 : 0);

async function statics(): Promise<void> {
  await step("types and lint", "turbo", ["run", "typecheck", "lint", "--output-logs=errors-only"]);
  await step("boundaries", "turbo", ["boundaries"]);
  await step("format", "biome", ["format", "."]);
  await audit();
}

/** Known vulnerabilities of what users run; each exception is explained in docs/decisions. */
async function audit(): Promise<void> {
  const { packageManager } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { packageManager: string };
  const { status, output } = await run("npx", ["--yes", packageManager, "audit", "--prod", "--audit-level=low"]);
  // A registry that offers no audit says so; that is no finding.
  if (status !== 0 && /ERR_PNPM_AUDIT_BAD_RESPONSE|audit endpoint/.test(output)) {
    total.skipped++;
    console.log("skip  audit: the registry in use answers no audit requests");
  } else tell("audit", status === 0, output);
}

interface VitestReport {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  success: boolean;
  testResults: { name: string; status: string; assertionResults: { status: string; fullName: string }[] }[];
}

/**
 * Unit and end-to-end tests. A file or two that fail are run once more with nothing beside them: where they pass then, the busy machine is to
 * blame or a race, and either is named as such at the end, to be mended.
 */
async function tests(): Promise<void> {
  const first = await vitest("--coverage");
  await staticsDone;
  if (!first) return tell("tests", false, "vitest wrote no report");
  const failed = first.testResults.filter(({ status }) => status === "failed");
  const again =
    failed.length > 0 && failed.length <= MAX_RETRIED ? await vitest(...failed.map(({ name }) => name)) : undefined;
  total.skipped += first.numPendingTests;
  if (again?.success) {
    total.passed += first.numPassedTests + first.numFailedTests;
    for (const { name, assertionResults } of failed)
      for (const { status, fullName } of assertionResults)
        if (status === "failed") flaky.push(`${relative(root, name)}: ${fullName}`);
    return;
  }
  total.passed += first.numPassedTests;
  // A file that cannot even be loaded counts as one failure.
  const count = Math.max(first.numFailedTests, first.success ? 0 : 1);
  total.failed += count;
  if (count > 0) failures.push("tests");
}

async function vitest(...args: string[]): Promise<VitestReport | undefined> {
  rmSync(report, { force: true });
  await run("vitest", ["run", ...args, "--reporter=default", "--reporter=json", `--outputFile.json=${report}`], true);
  return existsSync(report) ? (JSON.parse(readFileSync(report, "utf8")) as VitestReport) : undefined;
}

/** Replays what a real Consul answered, in the areas that are built so far. */
async function conformance(): Promise<void> {
  const areas = JSON.parse(readFileSync(join(root, "tools/conformance/areas.json"), "utf8")) as string[];
  const kit = join(root, "tools/conformance");
  const start = `${join(root, "heddle")} agent -dev -config-dir={dir}`;
  const { output } = await run(
    "node",
    [
      join(kit, "run.mjs"),
      "--start",
      start,
      "--area",
      areas.join(","),
      "--jobs",
      "2",
      "--deviations",
      join(kit, "deviations.json"),
    ],
    true,
  );
  const [, passed, failed, skipped] = /(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\s*$/.exec(output.trim()) ?? [];
  if (passed === undefined) return tell("conformance", false, output);
  total.passed += Number(passed);
  total.failed += Number(failed);
  total.skipped += Number(skipped ?? 0);
  if (Number(failed) > 0) failures.push("conformance");
}

async function step(name: string, command: string, args: string[]): Promise<void> {
  const { status, output } = await run(command, args);
  tell(name, status === 0, output);
}

function tell(name: string, isGood: boolean, output: string): void {
  total[isGood ? "passed" : "failed"]++;
  console.log(`${isGood ? "ok  " : "FAIL"}  ${name}`);
  if (isGood) return;
  failures.push(name);
  console.log(output.trimEnd());
}

function run(command: string, args: string[], isShown = false): Promise<{ status: number; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    const take = (chunk: string) => {
      output += chunk;
      if (isShown) process.stdout.write(chunk);
    };
    child.stdout.setEncoding("utf8").on("data", take);
    child.stderr.setEncoding("utf8").on("data", take);
    child.on("error", (error) => resolve({ status: 127, output: `${command}: ${error.message}` }));
    child.on("close", (code) => resolve({ status: code ?? 1, output }));
  });
}
