import { setImmediate } from "node:timers/promises";
import * as fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { compileFilter, FilterError, fields as f, loadRegexps, MAX_EXPRESSION_BYTES, parseFilter } from "./index.ts";
import type { Expression } from "./syntax.ts";

const FIELDS = {
  Name: f.string,
  Port: f.integer,
  Native: f.boolean,
  Tags: f.strings,
  Meta: f.map(),
  Weights: f.object({ Passing: f.integer }),
  Addresses: f.map(f.object({ Port: f.integer })),
  Checks: f.list({ Status: f.string, Tags: f.strings }),
};

const web = {
  Name: "web",
  Port: 8080,
  Tags: ["blue", "v2"],
  Meta: { version: "1.2", "a b": "c", __proto__x: "y" },
  Weights: { Passing: 3 },
  Addresses: { lan: { Port: 80 } },
  Checks: [
    { Status: "passing", Tags: [] },
    { Status: "critical", Tags: ["x"] },
  ],
};
const bare = { Name: "bare", Meta: null };

beforeAll(loadRegexps);

function refusalOf(expression: string): FilterError | undefined {
  try {
    compileFilter(expression, FIELDS);
    return undefined;
  } catch (error) {
    return error as FilterError;
  }
}

const keeps = (expression: string, row: unknown) => compileFilter(expression, FIELDS)(row);

describe("an expression keeps the rows that it describes", () => {
  test.each([
    ["", true, true],
    ["Name == web", true, false],
    ['Name=="web"', true, false],
    ["Name != `web`", false, true],
    ["Port == 8080", true, false],
    ['Port == "0x1f90"', true, false],
    ["Port == 0", false, true],
    ["Port != -1", true, true],
    ["Native == false", true, true],
    ["Native != true", true, true],
    ["blue in Tags", true, false],
    ['Tags contains "v2"', true, false],
    ["Tags not contains v2", false, true],
    ["v2 not in Tags", false, true],
    ["Tags is empty", false, true],
    ["Tags is not empty", true, false],
    ["version in Meta", true, false],
    ["Meta is empty", false, true],
    ['Meta.version == "1.2"', true, false],
    ['Meta["a b"] == c', true, false],
    ["Meta[`a b`] != c", false, true],
    ["Meta.nope == x", false, false],
    ["Meta.nope != x", true, true],
    ['Meta.nope matches "x"', false, false],
    ['Meta.nope not matches "x"', true, true],
    ["eb in Name", true, false],
    ["Weights.Passing == 3", true, false],
    ["Addresses.lan.Port == 80", true, false],
    ["Addresses.wan.Port != 80", true, true],
    ["Checks.Status == critical", true, false],
    ["Checks.Status != critical", true, false], // any item, and one of them is not
    ["x in Checks.Tags", true, false],
    ["Checks is empty", false, true],
    ['Name matches "^w.b$"', true, false],
    ['Name matches "a"', false, true],
    ["Name not matches `^w`", false, true],
    ["not Name == web", false, true],
    ["not not Name == web", true, false],
    ["not Name == web or Port == 8080", true, true],
    ["Name == web or Name == bare and Port == 1", true, false],
    ["(Name == web or Name == bare) and Port == 1", false, false],
    ["not in Tags", false, false], // the word `not`, looked for in Tags
  ])("%s", (expression, ofWeb, ofBare) => {
    expect([keeps(expression, web), keeps(expression, bare)]).toEqual([ofWeb, ofBare]);
  });

  test.each(["__proto__", "constructor", "toString", "hasOwnProperty", "0"])("%s is a key as any other", (key) => {
    expect(keeps(`Meta["${key}"] == x`, web)).toBe(false);
    expect(keeps(`Meta["${key}"] == x`, { Meta: JSON.parse(`{"${key}":"x"}`) })).toBe(true);
    expect(keeps(`"${key}" in Meta`, web)).toBe(false);
    if (key !== "0") expect(() => keeps(`${key} == x`, web)).toThrow(/is not valid|no match found/);
  });
});

describe("a wrong expression is refused in Consul's words", () => {
  test.each([
    ["Nope == 1", 'Selector "Nope" is not valid'],
    ["Meta.a.b == 1", 'Selector "Meta.a.b" is not valid'],
    ["Weights == 1", 'Invalid match operator "Equal" for selector "Weights"'],
    ["Name is empty", 'Invalid match operator "Is Empty" for selector "Name"'],
    ["Checks contains x", 'Invalid match operator "In" for selector "Checks"'],
    [
      "Port == abc",
      'Failed to coerce value "abc" for selector "Port": strconv.ParseInt: parsing "abc": invalid syntax',
    ],
    [
      "Port == 99999999999999999999",
      'Failed to coerce value "99999999999999999999" for selector "Port": strconv.ParseInt: parsing "99999999999999999999": value out of range',
    ],
    ["Native == x", 'Failed to coerce value "x" for selector "Native": strconv.ParseBool: parsing "x": invalid syntax'],
    ['Name matches "("', 'Failed to compile regular expression "(": error parsing regexp: missing closing ): `(`'],
    ["Name == ", '1:9 (8): no match found, expected: "-", "0", "\\"", "`", [ \\t\\r\\n], [1-9] or [a-zA-Z]'],
    ["Name", '1:5 (4): no match found, expected: "!=", ".", "==", "[", [ \\t\\r\\n] or [a-zA-Z0-9_]'],
    ["(Name == a", '1:11 (10): rule "grouping": Unmatched parentheses'],
    ["Name == a AND Port == 1", '1:11 (10): no match found, expected: "and", "or", [ \\t\\r\\n] or EOF'],
    ["Port == 080", '1:10 (9): rule "number": Invalid number literal'],
    ['Name == "a\\"b"', '1:9 (8): rule "string": invalid syntax'],
    ['Name == "abc', '1:13 (12): rule "string": Unterminated string literal'],
    ['a.b["', '1:6 (5): rule "string": Unterminated string literal\n1:5 (4): rule "index": Invalid index'],
    ['"a" in 5', '1:8 (7): rule "match": Invalid selector'],
    ["Name\n== é", '2:4 (8): no match found, expected: "-", "0", "\\"", "`", [ \\t\\r\\n], [1-9] or [a-zA-Z]'],
  ])("%s", (expression, message) => {
    const refusal = refusalOf(expression);
    expect(refusal).toBeInstanceOf(FilterError);
    expect(refusal?.message).toBe(`Failed to create boolean expression evaluator: ${message}`);
    expect(refusal?.status).toBe(500);
  });
});

describe("what it costs is bounded", () => {
  test("a longer expression and deeper parentheses are refused", () => {
    expect(() => keeps(`Name == "${"x".repeat(MAX_EXPRESSION_BYTES)}"`, web)).toThrow(/limit is 65536 bytes/);
    expect(() => keeps(`${"(".repeat(10_000)}Name == web`, web)).toThrow(/nested too deeply: the limit is 64/);
    expect(() => keeps(`${"( ".repeat(60)}Name == web`, web)).toThrow(/Unmatched parentheses/);
    expect(() => keeps(`Name matches "${"a".repeat(2_000)}"`, web)).toThrow(/the limit is 1000/);
    expect(() => keeps("Name matches `((a?){50}){15}$`", web)).toThrow(/unfolds to 3033 instructions/);
  });

  test("thousands of terms are no deeper than one", () => {
    expect(keeps(Array.from({ length: 5_000 }, () => "Port == 1").join(" or "), web)).toBe(false);
    expect(keeps(`${"not ".repeat(10_000)}Name == web`, web)).toBe(true);
  });

  test.each(["(a+)+$", "(a|aa)+$", "(a|a?)+$", "(.*a){12}", "(?i)(x+x+)+y"])("%s is linear", async (pattern) => {
    const test = compileFilter(`Name matches "${pattern}"`, FIELDS);
    // A backtracking engine would not come back from the first of them; more than 40 ms in one turn would throw.
    for (let i = 0; i < 3; i++) {
      test({ Name: `${"a".repeat(200)}!` });
      await setImmediate();
    }
  });

  test("a slow pattern on many rows gives up, and the next turn starts anew", async () => {
    const test = compileFilter("Name matches `(a?){300}$`", FIELDS);
    const row = { Name: `${"a".repeat(500)}!` };
    const start = performance.now();
    expect(() => Array.from({ length: 10_000 }, () => test(row))).toThrow(/takes too long on this many rows/);
    expect(performance.now() - start).toBeLessThan(1_500);
    await setImmediate();
    expect(test({ Name: "aaa" })).toBe(true);
  });

  test.each(["(?=a)", "(a)\\1", "(?<!a)b", "a{1001}", "["])("%s is not RE2", (pattern) => {
    expect(() => compileFilter(`Name matches \`${pattern}\``, FIELDS)).toThrow(/error parsing regexp/);
  });
});

// Expressions of a known meaning, with their text.
type Case = { text: string; holds: boolean };
const leaf = fc.constantFrom<Case>(
  { text: "Name == web", holds: true },
  { text: "Name != web", holds: false },
  { text: "blue in Tags", holds: true },
  { text: "Tags is empty", holds: false },
  { text: 'Meta["a b"] == `c`', holds: true },
);
const { expression } = fc.letrec<{ expression: Case }>((tie) => ({
  expression: fc.oneof(
    { depthSize: "small" },
    leaf,
    tie("expression").map(({ text, holds }) => ({ text: `not (${text})`, holds: !holds })),
    fc.tuple(tie("expression"), tie("expression")).map(([a, b]) => ({
      text: `(${a.text})  and (${b.text})`,
      holds: a.holds && b.holds,
    })),
    fc.tuple(tie("expression"), tie("expression")).map(([a, b]) => ({
      text: `( ${a.text} ) or (${b.text})`,
      holds: a.holds || b.holds,
    })),
  ),
}));

describe("properties", () => {
  test("logic means what it says", () => {
    fc.assert(fc.property(expression, ({ text, holds }) => keeps(text, web) === holds));
  });

  test("any key and any value can be written", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (key, value) => {
        const [k, v] = [quote(key), quote(value)];
        return keeps(`Meta[${k}] == ${v}`, { Meta: { [key]: value } }) || key === "__proto__";
      }),
    );
  });

  test("whatever the text, it is an expression or a FilterError", () => {
    const token = fc.constantFrom(
      "Name",
      "Tags",
      "==",
      "!=",
      " ",
      " in ",
      " is empty",
      "not ",
      "(",
      ")",
      '"',
      "`",
      "[",
      "]",
      ".",
      "0",
      "-",
      " and ",
      " or ",
      " matches ",
      "é",
      "\n",
      "\\",
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(token).map((t) => t.join("")),
        ),
        (text) => {
          try {
            const parsed: Expression = parseFilter(text);
            return parsed.kind.length > 0;
          } catch (error) {
            return error instanceof FilterError;
          }
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

/** Go's strconv.Quote, with every odd character escaped, quotes as \x22: a string ends at the first of them. */
function quote(text: string): string {
  return `"${Array.from(text, (c) => {
    const code = c.codePointAt(0) as number;
    return /[\w .:-]/.test(c)
      ? c
      : code > 0xffff
        ? `\\U${code.toString(16).padStart(8, "0")}`
        : `\\u${code.toString(16).padStart(4, "0")}`;
  }).join("")}"`;
}
