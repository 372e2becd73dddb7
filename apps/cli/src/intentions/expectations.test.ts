import { describe, expect, it } from "vitest";
import { parseExpectations } from "./expectations.ts";

describe("parseExpectations", () => {
  it("reads one a line, passing over comments and blank lines, and keeps the line's number", () => {
    const text = "# who may\n\nweb -> db: deny\r\n* => db : allow  // all\n__proto__->constructor:deny # odd\n";
    expect(parseExpectations(text)).toEqual([
      { line: 3, source: "web", destination: "db", allowed: false },
      { line: 4, source: "*", destination: "db", allowed: true },
      { line: 5, source: "__proto__", destination: "constructor", allowed: false },
    ]);
  });

  it.each([
    ["web db deny", /line 1: "web db deny" is no expectation, want one such as "web -> db: deny"/],
    ["web -> db: maybe", /line 1: "maybe" is no outcome, want allow or deny/],
    [`${"x".repeat(2_000)} -> db: deny`, /line 1: a name is longer than 1024/],
    ["a\nb", /line 1.*\nline 2/],
    ["x\n".repeat(1_000), /line 20: "x" is no[^\n]*$/],
  ])("refuses %j", (text, problem) => {
    expect(() => parseExpectations(text)).toThrow(problem);
  });
});
