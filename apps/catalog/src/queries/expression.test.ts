import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { evaluate, ExpressionError, parseExpression, type Scope } from "./expression.ts";

const groups = ["geo-web-7", "web", "7"];
const scope: Scope = {
  variables: new Map([
    ["name.full", "geo-web-7"],
    ["name.prefix", "geo-"],
    ["name.suffix", "web-7"],
    ["agent.segment", ""],
  ]),
  match: (group) => groups[group] ?? "",
};
const fill = (text: string) => evaluate(parseExpression(text), scope);

// What Consul 1.8.7 makes of each.
describe("a text is filled in", () => {
  test.each([
    ["", ""],
    ["plain", "plain"],
    ["}", "}"],
    ["$ {x}", "$ {x}"],
    ["$$", "$"],
    ["$${x}", "${x}"],
    ["${name.full}${name.prefix}", "geo-web-7geo-"],
    ["${ name.suffix }x", "web-7x"],
    ["é${name.prefix}ü", "égeo-ü"],
    ["${agent.segment}", ""],
    ["x${match(0)}y", "xgeo-web-7y"],
    ["${match (1)}", "web"],
    ["${match(-1)}${match(9)}", ""],
    ["${match(1.9)}", "web"],
    ['${match("1")}', "web"],
    ["${match(match(2) - 6)}", "web"],
    ['${"lit"}', "lit"],
    ['${"a${name.prefix}b"}', "ageo-b"],
    ['${"x\\"y\\n"}', 'x"y\n'],
    ["${40+2}", "42"],
    ["${40 + 2 * 3}", "126"],
    ["${2+3*4}", "20"],
    ["${2*(3+4)}", "14"],
    ["${10-2-3}", "5"],
    ["${7/2}", "3"],
    ["${7%2}", "1"],
    ["${-5}", "-5"],
    ["${1--1}", "2"],
    ["${7.5+1}", "8.5"],
    ["${3.0/2}", "1.5"],
    ["${-1.5}", "-1"],
    ["${2.50}", "2.5"],
    ['${"3" + 1}', "4"],
  ])("%s", (text, filled) => {
    expect(fill(text)).toBe(filled);
  });
});

describe("what cannot be", () => {
  test.each([
    ["${name.full", "format", "parse error: syntax error"],
    ["a${", "format", "parse error: syntax error"],
    ["${}", "format", "parse error: syntax error"],
    ["${a b}", "format", "parse error: syntax error"],
    ["${1==1}", "format", "parse error: syntax error"],
    ["${'a'}", "format", "parse error: syntax error"],
    ['${"open}', "format", "parse error: syntax error"],
    ["${9999999999999999999}", "format", "parse error: syntax error"],
    ["${match(1,}", "format", "parse error: syntax error"],
    [`\${${"(".repeat(100)}1`, "format", "more than 64 levels"],
    ["${nope}", "evaluation", "1:3: unknown variable accessed: nope"],
    ["  ${nope}", "evaluation", "1:5: unknown variable accessed: nope"],
    ["abc\n\n  ${nope}", "evaluation", "3:6: unknown variable accessed: nope"],
    ["${__proto__}", "evaluation", "unknown variable accessed: __proto__"],
    ["${nope(1)}", "evaluation", "1:3: unknown function called: nope"],
    ["${match()}", "evaluation", "1:3: match: expected 1 arguments, got 0"],
    ["${match(1,2)}", "evaluation", "1:3: match: expected 1 arguments, got 2"],
    [
      "${match(name.full)}",
      "evaluation",
      '__builtin_StringToInt: strconv.ParseInt: parsing "geo-web-7": invalid syntax',
    ],
    ["${name.suffix[0]}", "evaluation", "At column 3, line 1: invalid index operation"],
    ["${1/0}", "evaluation", "division by zero"],
    ["${1%0}", "evaluation", "division by zero"],
  ])("%s", (text, stage, message) => {
    const fails = () => fill(text);
    expect(fails).toThrow(message);
    expect(fails).toThrow(expect.objectContaining({ stage }));
  });
});

test("no text makes anything but a result or an ExpressionError", () => {
  const piece = fc.constantFrom(
    "${",
    "}",
    "match(",
    ")",
    "name.full",
    '"',
    "$",
    "\\",
    "1",
    ".",
    "+",
    "[",
    "a",
    " ",
    ",",
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(piece).map((p) => p.join("")),
      ),
      (text) => {
        try {
          expect(typeof fill(text)).toBe("string");
        } catch (error) {
          expect(error).toBeInstanceOf(ExpressionError);
        }
      },
    ),
    { numRuns: 3_000 },
  );
});
