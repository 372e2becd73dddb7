import { describe, expect, it } from "vitest";
import { HclSyntaxError, parseJson } from "./index.ts";

describe("JSON", () => {
  it.each<[string, string]>([
    ["", "failed to parse f.json: unexpected end of JSON input"],
    ["{", "failed to parse f.json: unexpected end of JSON input"],
    ['{ "service": ', "failed to parse f.json: unexpected end of JSON input"],
    ['{"a":tru', "failed to parse f.json: unexpected end of JSON input"],
    ['{"a":"x', "failed to parse f.json: unexpected end of JSON input"],
    ['{\n  "a": 1,\n}', "f.json:3:1: invalid character '}': want a key in double quotes"],
    ["[1]", "f.json:1:1: invalid character '[': want an object that begins with '{'"],
    ['{"a" 1}', "f.json:1:6: invalid character '1': want ':' after the key 'a'"],
    ['{"a":01}', "f.json:1:7: invalid character '1': want ',' or '}'"],
    ['{"a":[1 2]}', "f.json:1:9: invalid character '2': want ',' or ']'"],
    ['{"a":x}', "f.json:1:6: invalid character 'x': want a value"],
    ['{"a":"\t"}', "f.json:1:7: a control character in a string: want an escape such as \\n"],
    ['{"a":"\\u12"}', "f.json:1:9: want four hex digits after \\u"],
    ['{"a":1}x', "f.json:1:8: invalid character 'x': want nothing after the closing '}'"],
    ["{'a':1}", `f.json:1:2: invalid character "'": want a key in double quotes`],
  ])("refuses %j", (text, message) => {
    expect(() => parseJson(text, "f.json")).toThrow(message);
  });

  it("tells the place and a code", () => {
    expect.assertions(2);
    try {
      parseJson('{\n "a": }', "f.json");
    } catch (error) {
      expect(error).toBeInstanceOf(HclSyntaxError);
      expect(error).toMatchObject({ code: "invalid_argument", file: "f.json", line: 2, column: 7 });
    }
  });

  it("skips a byte order mark", () => {
    expect(parseJson('\ufeff{"a":1}', "f.json").value).toEqual({ a: 1 });
  });
});
