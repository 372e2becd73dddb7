/** `heddle intention test`: Heddle's own. Expectations against rules, of files (then nobody is asked) or of the agent. */
import type { ApiClient } from "@heddle/api-client";
import type { Intention } from "@heddle/intentions";
import { attempt, command, CommandError } from "../command.ts";
import { readBytes } from "../data.ts";
import { flag } from "../flags.ts";
import { formatJson } from "../output.ts";
import type { Terminal } from "../terminal.ts";

const NOT_TESTED = 2; // 1 is an answer: an expectation does not hold
const MAX_FILE = 16 * 1024 * 1024;

export const test = command({
  usage: "intention test [options] FILE",
  about: `Tests rules against what is expected of them. FILE has one expectation a line; - is standard input:

    web -> db: allow
    *   -> db: deny    # who has no rule of its own

With -rules (a service-intentions entry, an intention, or a JSON list of them; HCL or JSON; may be given several times) no agent is
asked; else the rules are the agent's. Rules that can never change an outcome are named on standard error; with -strict they fail the test.
Exit status: 0 where everything is as expected, 1 where not, 2 where it could not be tested.

    $ heddle intention test -rules db.hcl -default deny expected.txt`,
  api: "datacenter",
  flags: {
    default: flag.oneOf(
      "What holds where no rule matches, with -rules; the agent's own is taken otherwise.",
      ["allow", "deny"],
      "allow",
    ),
    format: flag.format(),
    rules: flag.list("File with rules."),
    strict: flag.boolean("Fail for a rule that never changes an outcome."),
  },
  async run({ api, args, flags, seen, terminal }) {
    const [file] = args;
    if (args.length !== 1 || file === undefined)
      throw new CommandError("Error: command requires exactly one argument: a file of expectations", NOT_TESTED);
    if (flags.rules.length === 0 && seen.has("default"))
      throw new CommandError(
        "Error: -default goes with -rules: an agent's rules come with its own default",
        NOT_TESTED,
      );
    const { parseExpectations } = await import("../intentions/expectations.ts");
    const expectations = await parsed(file, terminal, parseExpectations);
    if (expectations.length === 0) throw new CommandError(`Error: ${file}: no expectation`, NOT_TESTED);
    const { intentions, defaultAllow } =
      flags.rules.length > 0
        ? { intentions: await ofFiles(flags.rules, terminal), defaultAllow: flags.default === "allow" }
        : await ofAgent(api);

    const { decide, findIdleRules } = await import("@heddle/intentions");
    const failures = expectations.flatMap(({ line, source, destination, allowed }) => {
      const decision = decide({ intentions, source, destination, defaultAllow });
      if (decision.allowed === allowed) return [];
      const [wanted, is] = allowed ? ["allow", "deny"] : ["deny", "allow"];
      const why = decision.rule ? decision.reason : `no rule matches, and the default is ${is}`;
      return [{ Line: line, Source: source, Destination: destination, Want: wanted, Is: is, Why: why }];
    });
    const idle = findIdleRules(intentions, defaultAllow);
    const passed = expectations.length - failures.length;
    if (flags.format === "json") {
      const idleRules = idle.map(({ rule, because }) => ({
        ID: rule.ID,
        Source: rule.SourceName,
        Destination: rule.DestinationName,
        Because: because,
      }));
      terminal.out(`${formatJson({ Passed: passed, Failed: failures, IdleRules: idleRules })}\n`);
    } else {
      for (const { Line, Source, Destination, Want, Is, Why } of failures)
        terminal.out(`${file}:${Line}: ${Source} -> ${Destination}: want ${Want}, is ${Is}: ${Why}\n`);
      for (const { rule, because } of idle)
        terminal.err(
          `The rule ${rule.SourceName} -> ${rule.DestinationName} (ID: ${rule.ID}) never changes an outcome: ${because}.\n`,
        );
      terminal.out(`${passed} passed, ${failures.length} failed\n`);
    }
    return failures.length > 0 || (flags.strict && idle.length > 0) ? 1 : 0;
  },
});

async function ofFiles(files: readonly string[], terminal: Terminal): Promise<Intention[]> {
  const { readRules } = await import("../intentions/rules-file.ts");
  const rules: Intention[] = [];
  for (const file of files) rules.push(...(await parsed(file, terminal, (text) => readRules(text, file))));
  return rules;
}

async function ofAgent(api: ApiClient): Promise<{ intentions: Intention[]; defaultAllow: boolean }> {
  const answer = api.get<Intention[] | null>("/v1/connect/intentions");
  const { body, headers } = await attempt("Error reading the intentions", answer, NOT_TESTED);
  return { intentions: body ?? [], defaultAllow: headers["x-consul-default-acl-policy"] !== "deny" };
}

async function parsed<T>(file: string, terminal: Terminal, parse: (text: string) => T): Promise<T> {
  try {
    const bytes = file === "-" ? await terminal.readStdin() : readBytes(file, "Error");
    if (bytes.length > MAX_FILE) throw new Error(`${bytes.length} bytes, at most ${MAX_FILE} are read`);
    return parse(bytes.toString("utf8"));
  } catch (cause) {
    if (cause instanceof CommandError) throw new CommandError(cause.message, NOT_TESTED, { cause });
    throw new CommandError(`Error: ${file}: ${(cause as Error).message}`, NOT_TESTED, { cause });
  }
}
