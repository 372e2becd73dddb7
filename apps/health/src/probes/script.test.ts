import { readdirSync, readFileSync } from "node:fs";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { scriptEnvironment } from "../script-environment.ts";
import { testContext } from "../testing.ts";
import { probe } from "./script.ts";

const sh = (script: string, options: Record<string, unknown> = {}) => ({
  CheckID: "c",
  Args: ["/bin/sh", "-c", script],
  TimeoutMs: 5_000,
  ...options,
});

/** Processes whose command line holds the mark. */
function processesWith(mark: string): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(mark);
      } catch {
        return false;
      }
    })
    .map(Number)
    .filter((pid) => pid !== process.pid);
}

describe("exit codes", () => {
  test.each([
    ["exit 0", "passing"],
    ["exit 1", "warning"],
    ["exit 2", "critical"],
    ["exit 77", "critical"],
    ["kill -9 $$", "critical"],
  ])("%s is %s", async (script, status) => {
    expect(await probe(sh(`echo said; ${script}`), testContext())).toEqual({ status, output: "said\n" });
  });

  test("what is written to standard error counts as output", async () => {
    expect(await probe(sh("echo broken >&2; exit 2"), testContext())).toEqual({
      status: "critical",
      output: "broken\n",
    });
  });

  test("no shell: arguments are passed as they are", async () => {
    const result = await probe({ CheckID: "c", Args: ["/usr/bin/printf", "%s", "$HOME; `id` *"] }, testContext());
    expect(result).toEqual({ status: "passing", output: "$HOME; `id` *" });
  });
});

test.each([
  ["/no/such/program", "fork/exec /no/such/program: no such file or directory"],
  ["nosuchprogram", 'exec: "nosuchprogram": executable file not found in $PATH'],
  ["/etc/passwd", "fork/exec /etc/passwd: permission denied"],
  ["/tmp", "fork/exec /tmp: permission denied"],
])("a program that cannot start: %s", async (program, output) => {
  expect(await probe({ CheckID: "c", Args: [program] }, testContext())).toEqual({ status: "critical", output });
});

describe("output", () => {
  test("the last bytes are kept, and how much was cut is said", async () => {
    const result = await probe(sh("head -c 10000 /dev/zero | tr '\\0' x; printf END"), testContext());
    expect(result.output).toMatch(/^Captured 4096 of 10003 bytes\n\.\.\.\nx+END$/);
  });
});

describe.each([
  ["a real pipe", testContext().pipes],
  ["Node's own, where no pipe can be made", { take: () => Promise.resolve(undefined), close: () => {} }],
])("output through %s", (_title, pipes) => {
  test.each([
    ["echo said; exit 1", "warning", "said\n"],
    ["echo partial; sleep 60", "critical", "Timed out (300ms) running check\n\npartial\n"],
    ["sleep 60 & echo forked", "critical", "Timed out (300ms) running check\n\nforked\n"],
    ["setsid sleep 5 & echo escaped", "critical", "Timed out (300ms) running check\n\nescaped\n"],
  ])("%s", async (script, status, output) => {
    expect(await probe(sh(script, { TimeoutMs: 300 }), testContext({ pipes }))).toEqual({ status, output });
  });

  test("an argument that no program can have", async () => {
    expect((await probe({ CheckID: "c", Args: ["/bin/echo", "a\0b"] }, testContext({ pipes }))).status).toBe(
      "critical",
    );
  });
});

test("standard output and error keep their order, and can be opened by name", async () => {
  const script = "echo a; echo b >&2; echo c; echo d >/dev/stderr; echo e >/dev/stdout";
  expect(await probe(sh(script), testContext())).toEqual({ status: "passing", output: "a\nb\nc\nd\ne\n" });
});

test("a hundred scripts at once each get their own output, and no descriptor stays open", async () => {
  const descriptors = () => readdirSync("/proc/self/fd").length;
  await probe(sh("true"), testContext());
  const before = descriptors();
  const results = await Promise.all(Array.from({ length: 100 }, (_, i) => probe(sh(`echo ${i}`), testContext())));
  expect(results.map((r) => r.output)).toEqual(Array.from({ length: 100 }, (_, i) => `${i}\n`));
  expect(descriptors()).toBeLessThan(before + 40); // a batch of pipes stands ready
});

describe("environment", () => {
  test("paths and locales pass, secrets do not, and what the operator names does", async () => {
    const env = {
      PATH: process.env.PATH,
      HOME: "/h",
      LC_ALL: "C",
      CONSUL_HTTP_TOKEN: "s1",
      AWS_SECRET_ACCESS_KEY: "s2",
      MY_VAR: "mine",
    };
    const result = await probe(sh("env"), testContext({ scriptEnv: scriptEnvironment(env, ["MY_VAR"]) }));
    expect(result.output).toContain("HOME=/h\n");
    expect(result.output).toContain("LC_ALL=C\n");
    expect(result.output).toContain("MY_VAR=mine\n");
    expect(result.output).not.toMatch(/s1|s2|TOKEN|SECRET/);
  });
});

describe("timeouts", () => {
  test("critical, with what it said so far", async () => {
    const result = await probe(sh("echo partial; sleep 60", { TimeoutMs: 300 }), testContext());
    expect(result).toEqual({ status: "critical", output: "Timed out (300ms) running check\n\npartial\n" });
  });

  test("a child that keeps the output open keeps the check running", async () => {
    const result = await probe(sh("sleep 60 & echo forked; exit 0", { TimeoutMs: 300 }), testContext());
    expect(result).toEqual({ status: "critical", output: "Timed out (300ms) running check\n\nforked\n" });
  });

  // SECURITY.md CHK-02
  test("the whole group is gone, forks that ignore SIGTERM and a flood of output included", async () => {
    const mark = `heddle-test-${process.pid}-${Date.now()}`;
    const file = join(mkdtempSync(join(tmpdir(), "heddle-script-")), mark);
    writeFileSync(
      file,
      "#!/bin/sh\ntrap '' TERM\nfor i in $(seq 50); do /bin/sh -c \"trap '' TERM; while :; do sleep 1; done # $0\" & done\nhead -c 104857600 /dev/zero\nwhile :; do sleep 1; done\n",
      { mode: 0o755 },
    );
    const before = process.memoryUsage().rss;
    const startedAt = performance.now();
    const running = probe({ CheckID: "c", Args: [file], TimeoutMs: 2_000 }, testContext());
    while (processesWith(mark).length < 51) await new Promise((resolve) => setTimeout(resolve, 20));
    const result = await running;
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    while (processesWith(mark).length > 0) {
      expect(performance.now() - startedAt).toBeLessThan(4_000);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(result.status).toBe("critical");
    expect(result.output.length).toBeLessThan(4_096 + 100);
    const grown = (process.memoryUsage().rss - before) / 1024 / 1024;
    expect(grown).toBeLessThan(10);
  });

  test("a removed check's script ends at once", async () => {
    const controller = new AbortController();
    const startedAt = performance.now();
    const running = probe(sh("sleep 60"), testContext({ signal: controller.signal }));
    setTimeout(() => controller.abort(), 50);
    await running;
    expect(performance.now() - startedAt).toBeLessThan(1_000);
  });
});

test("what a script leaves behind ends with it", async () => {
  const mark = `heddle-left-${process.pid}-${Date.now()}`;
  const result = await probe(
    sh(`/bin/sh -c 'while :; do sleep 1; done # ${mark}' >/dev/null 2>&1 & echo done`),
    testContext(),
  );
  expect(result).toEqual({ status: "passing", output: "done\n" });
  const startedAt = performance.now();
  while (processesWith(mark).length > 0) {
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
});
