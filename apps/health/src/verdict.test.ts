import type { CheckStatus } from "@heddle/service-definition";
import { expect, test } from "vitest";
import { initialCounters, judge, type Thresholds, thresholdsOf } from "./verdict.ts";

const STATUS: Record<string, CheckStatus> = { p: "passing", w: "warning", c: "critical" };

/** The letter of the status shown after each result; "-" before anything is shown. */
function shown(thresholds: Thresholds, results: string): string {
  let counters = initialCounters(thresholds);
  let letter = "-";
  let all = "";
  for (const result of results) {
    const verdict = judge(thresholds, counters, STATUS[result] as CheckStatus);
    counters = verdict.counters;
    letter = verdict.status?.slice(0, 1) ?? letter;
    all += letter;
  }
  return all;
}

const consul = (SuccessBeforePassing: number, FailuresBeforeCritical: number, FailuresBeforeWarning?: number) =>
  thresholdsOf({ CheckID: "c", SuccessBeforePassing, FailuresBeforeCritical, FailuresBeforeWarning });

// The first three are what Consul 1.8.7 showed for a server that answered 200 (p), 429 (w) or 500 (c) six times in a row.
test.each([
  [
    "success 2, critical 3",
    consul(2, 3),
    "ppppppccccccppppppwwwwwwccccccwwwwww",
    "ppppppppcccccpppppwwwwwwwwcccccwwwww",
  ],
  ["the first result counts at once", consul(1, 0), "ccccccpppppp", "ccccccpppppp"],
  ["success 3, critical 2", consul(3, 2), "ccccccpppppp", "ccccccccpppp"],
  ["no thresholds", consul(0, 0), "pcwcp", "pcwcp"],
  ["a success between failures starts the count again", consul(0, 3), "pccpccpccc", "pppppppppc"],
  ["a warning is a success", consul(0, 3), "pccwccc", "pppwwwc"],
  ["failures before warning", consul(0, 4, 2), "pcccccp", "ppwwccp"],
  ["failures before warning default to critical's", consul(0, 2), "pcc", "ppc"],
  ["a first failure is critical whatever the thresholds", consul(5, 5, 3), "c", "c"],
])("%s", (_title, thresholds, results, expected) => {
  expect(shown(thresholds, results)).toBe(expected);
});
