import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HclSyntaxError, MAX_DEPTH, parseHcl, parseJson } from "./index.ts";

const plain = (text: string): unknown => JSON.parse(JSON.stringify(parseHcl(text, "f.hcl").value));

describe("HCL 1", () => {
  it.each<[string, unknown]>([
    ["", {}],
    ["a = 1\nb = -2.5 c = 0x1F d = 0755 e = 1e3 f = .5", { a: 1, b: -2.5, c: 31, d: 493, e: 1000, f: 0.5 }],
    ["a = true, b = false", { a: true, b: false }],
    ['a = "x\\ty\\\\\\"\\u00e9\\x41\\101\\U0001F600"', { a: 'x\ty\\"éAA😀' }],
    ['a = "${b("c")} $ $d"', { a: '${b("c")} $ $d' }],
    ['a = "\\ud83d"', { a: "\ufffd" }],
    ['a = [1, "x", true, [2], { b = 3 },]', { a: [1, "x", true, [2], { b: 3 }] }],
    ["a { b = 1 }", { a: { b: 1 } }],
    ["a = { b = 1, c = 2, }", { a: { b: 1, c: 2 } }],
    ['a "b" "c" { d = 1 }', { a: { b: { c: { d: 1 } } } }],
    ["a { b = 1 } a { b = 2 } a = [{ b = 3 }]", { a: [{ b: 1 }, { b: 2 }, { b: 3 }] }],
    ["a = [1]\na = [2]", { a: [1, 2] }],
    ['"quoted key" = 1 a.b = 2 c-d = 3 é = 4', { "quoted key": 1, "a.b": 2, "c-d": 3, é: 4 }],
    ["a = <<EOF\n  x\ny\n  EOF\nb = 1", { a: "  x\ny\n", b: 1 }],
    ["a = <<-EOF\n    x\n      y\n    EOF", { a: "x\n  y\n" }],
    ["a = <<-EOF\n x\n   y\n   EOF", { a: " x\n   y\n" }],
    ["a = <<EOF\r\nx\r\nEOF\r\n", { a: "x\n" }],
    ["# c\n// c\n/* c\n*/ a = 1 # c", { a: 1 }],
    ['{ "a": [1] }', { a: [1] }],
  ])("reads %j", (text, value) => {
    expect(plain(text)).toEqual(value);
  });

  it.each<[string, string]>([
    ["a = ", "f.hcl:1:5: the file ends too early: want a value"],
    ["a {\n  b = 1", "f.hcl:2:8: the file ends too early: want a key or '}'"],
    ["a = foo", "f.hcl:1:5: unexpected word 'foo': want a value; text stands in double quotes"],
    ["a = [1 2]", "f.hcl:1:8: unexpected '2': want ',' or ']'"],
    ["a = [,]", "f.hcl:1:6: unexpected ',': want a value"],
    ['a = "x\ny"', "f.hcl:1:5: a string that is never closed: want '\"' on the same line"],
    ['a = "${x', "f.hcl:1:5: a string with '${' that is never closed: want '}'"],
    ["a = 12abc", "f.hcl:1:5: malformed number '12abc'"],
    ["a = 089", "f.hcl:1:5: malformed number '089'"],
    ["a = 1e999", "f.hcl:1:5: malformed number '1e999'"],
    ["a = <<E\nfoo", "f.hcl:1:5: a heredoc that is never closed: want a line 'E'"],
    ["a = << E", "f.hcl:1:5: malformed heredoc: want '<<NAME' or '<<-NAME' at the end of a line"],
    ["\n/* x", "f.hcl:2:1: a comment that is never closed: want '*/'"],
    ["= 3", "f.hcl:1:1: unexpected '=': want a key"],
    ["}", "f.hcl:1:1: unexpected '}': want a key"],
    ["a 1", "f.hcl:1:3: unexpected '1': want '=' or '{' after the key 'a'"],
    ["a : 1", "f.hcl:1:3: unexpected character ':': want a key or a value"],
    ["a { b = 1 }\na = 2", "f.hcl:2:1: the key 'a' is a single value here and was none above"],
    ["a = 1\na { b = 1 }", "f.hcl:2:1: the key 'a' is a list or a block here and was none above"],
  ])("refuses %j", (text, message) => {
    expect(() => parseHcl(text, "f.hcl")).toThrow(message);
    expect(() => parseHcl(text, "f.hcl")).toThrow(HclSyntaxError);
  });

  it("refuses an unknown escape and names those that are known", () => {
    expect(() => parseHcl('a = "\\q"', "f.hcl")).toThrow(/^f\.hcl:1:6: unknown escape .* want one of/);
  });

  it("refuses what is nested too deep, without overflowing the stack", () => {
    const forms = ["a {", "a = [", 'a "b" ', "a = {"].map((open) =>
      open.endsWith("[") ? `a = ${"[".repeat(100_000)}` : open.repeat(100_000),
    );
    for (const text of [...forms, `a ${'"b" '.repeat(100_000)}{}`])
      expect(() => parseHcl(text, "f.hcl")).toThrow(HclSyntaxError);
    expect(() => parseJson(`{"a":${"[".repeat(100_000)}`, "f.json")).toThrow(
      `nested more than ${MAX_DEPTH} levels deep`,
    );
  });

  it("takes __proto__ and constructor as ordinary keys", () => {
    for (const text of ["__proto__ { x = 1 } constructor = 2", '{"__proto__":{"x":1},"constructor":2}']) {
      const { value } = parseHcl(text, "f.hcl");
      expect(Object.keys(value)).toEqual(["__proto__", "constructor"]);
      expect(Object.getPrototypeOf(value)).toBeNull();
      expect(({} as Record<string, unknown>).x).toBeUndefined();
    }
  });

  it("remembers where each value stood", () => {
    const { at } = parseHcl('a = 1\n\nb "c" {\n  d = [\n    1,\n    { e = 2 },\n  ]\n}\nb { f = 3 }\n', "f.hcl");
    expect(at([])).toEqual({ line: 1, column: 1 });
    expect(at(["a"])).toEqual({ line: 1, column: 1 });
    expect(at(["b", 0, "c", "d", 1, "e"])).toEqual({ line: 6, column: 7 });
    expect(at(["b", 1])).toEqual({ line: 9, column: 1 });
    expect(at(["b", 1, "f"])).toEqual({ line: 9, column: 5 });
    expect(at(["b", 2])).toBeUndefined();
    expect(at(["a", "x"])).toBeUndefined();
  });

  it("lets a value given twice count the second time, and lists it", () => {
    for (const [parse, text] of [
      [parseHcl, "a {\n  b = 1\n  b = 2\n}"],
      [parseJson, '{"a":{\n  "b": 1,\n  "b": 2}}'],
    ] as const) {
      const document = parse(text, "f");
      expect(document.value).toEqual({ a: { b: 2 } });
      expect(document.duplicates).toEqual([
        { path: ["a", "b"], first: { line: 2, column: 3 }, at: { line: 3, column: 3 } },
      ]);
    }
  });

  it("reads ten thousand blocks of one name in a blink", () => {
    const text = Array.from({ length: 10_000 }, (_, i) => `services { name = "s${i}" }`).join("\n");
    const { value, at } = parseHcl(text, "f.hcl");
    expect((value.services as unknown[]).length).toBe(10_000);
    expect(at(["services", 9_999, "name"])).toEqual({ line: 10_000, column: 12 });
  });
});

const key = fc.oneof(fc.stringMatching(/^[a-z_][a-z0-9_.-]{0,8}$/), fc.string({ maxLength: 8 }));
const { value: anyValue } = fc.letrec<{ value: unknown; object: Record<string, unknown> }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.string(),
    fc.string({ unit: "binary" }).filter((s) => !s.includes("\0")),
    fc.boolean(),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n || 0),
    fc.array(tie("value"), { maxLength: 4 }),
    tie("object"),
  ),
  object: fc.dictionary(key, tie("value"), { maxKeys: 5 }),
}));
const document = fc.dictionary(key, anyValue, { maxKeys: 5 });

describe("any document", () => {
  it("is read as it was written, in both languages", () => {
    fc.assert(
      fc.property(document, (value) => {
        const json = JSON.stringify(value);
        expect(toPlain(parseJson(json, "f.json").value)).toEqual(JSON.parse(json));
        expect(toPlain(parseHcl(writeHcl(value), "f.hcl").value)).toEqual(JSON.parse(json));
      }),
    );
  });

  it("is an error of its own, or a value, whatever the text", () => {
    const word = fc.constantFrom(
      "a",
      '"b"',
      "=",
      "{",
      "}",
      "[",
      "]",
      ",",
      "1",
      "<<E\n",
      "E\n",
      "\n",
      "#",
      "/*",
      '"',
      "${",
      "\\",
      ":",
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(word, { maxLength: 30 }).map((w) => w.join(" ")),
          fc.string({ unit: "binary" }),
        ),
        (text) => {
          for (const parse of [parseHcl, parseJson]) {
            try {
              parse(text, "f");
            } catch (error) {
              expect(error).toBeInstanceOf(HclSyntaxError);
            }
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });
});

const toPlain = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

function writeHcl(object: Record<string, unknown>): string {
  return Object.entries(object)
    .map(([name, value]) => `${quote(name)} = ${writeValue(value)}\n`)
    .join("");
}

function writeValue(value: unknown): string {
  if (typeof value === "string") return quote(value);
  if (Array.isArray(value)) return `[${value.map(writeValue).join(", ")}]`;
  return typeof value === "object" ? `{\n${writeHcl(value as Record<string, unknown>)}}` : JSON.stringify(value);
}

function quote(text: string): string {
  // "${" would begin an interpolation, which HCL 1 keeps as it stands.
  return JSON.stringify(text.toWellFormed()).replaceAll("${", "\\u0024{");
}
