import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeBody, decodeObject, parseBody, type Spec } from "./decode.ts";
import { InvalidArgumentError } from "./errors.ts";

const FIELDS: Record<string, Spec> = {
  Name: "string",
  Port: "integer",
  Flags: "uint64",
  Wait: "duration",
  IsOn: "boolean",
  Tags: "strings",
  Meta: { map: "string" },
  Any: "any",
  Nested: { object: { List: { list: { object: { Name: "string" } } } } },
};
const decode = (text: string) => decodeBody(Buffer.from(text), FIELDS);
const deep = (levels: number) => "[".repeat(levels) + "]".repeat(levels);

test("keys match without case, null gives nothing, maps keep any key", () => {
  expect({ ...decode('{"name":"a","PORT":1,"tags":null,"Meta":{"__proto__":"x","constructor":"y"}}') }).toEqual({
    Name: "a",
    Port: 1,
    Tags: undefined,
    Meta: Object.assign(Object.create(null), { ["__proto__"]: "x", constructor: "y" }) as unknown,
  });
});

test("what is kept as it is given can be written out again", () => {
  const { Any, Flags } = decode('{"Any":{"a":[12345678901234567890],"__proto__":1},"Flags":12345678901234567890}');
  expect(Flags).toBe("12345678901234567890");
  expect(JSON.stringify(Any)).toBe('{"a":[12345678901234567000],"__proto__":1}');
  expect(parseBody(Buffer.from("12345678901234567890"))).toBe(12345678901234567000);
});

test("null is an object that gives nothing", () => {
  expect({ ...decode("null") }).toEqual({});
  expect({ ...decodeObject(undefined, FIELDS) }).toEqual({});
});

test.each([
  ['{"Name":1}', "cannot use 1 for field Name: want text"],
  ['{"Port":1.5}', "cannot use 1.5 for field Port: want a whole number"],
  ['{"Flags":18446744073709551616}', 'cannot use "18446744073709551616" for field Flags'],
  ['{"Nested":{"List":[{},{"Name":[]}]}}', "field Nested.List[1].Name: want text"],
  ['{"__proto__":1}', 'unknown field "__proto__"'],
  ['{"constructor":1}', 'unknown field "constructor"'],
  ["[]", "cannot use [] for field body: want an object"],
  ["", "EOF"],
])("%s: %s", (text, error) => {
  expect(() => decode(text)).toThrow(error);
});

describe("bounds", () => {
  test.each([100, 3_000, 100_000])("%d levels where none are meant are refused, and shown in part", (levels) => {
    const refused = (text: string) => {
      try {
        decode(text);
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidArgumentError);
        return (error as Error).message;
      }
      throw new Error("it was taken");
    };
    expect(refused(`{"Name":${deep(levels)}}`).length).toBeLessThan(300);
    expect(refused(deep(levels)).length).toBeLessThan(300);
    // With a number that is read exactly, each value is looked at.
    expect(refused(`{"Flags":12345678901234567890,"Port":${deep(levels)}}`).length).toBeLessThan(300);
  });
});

test("whatever the value, it is decoded or refused", () => {
  const value = fc.oneof(fc.jsonValue({ maxDepth: 4 }), fc.bigInt().map(String), fc.constant("1e999"));
  const key = fc.oneof(fc.constantFrom(...Object.keys(FIELDS), "__proto__", "name", "NAME"), fc.string());
  fc.assert(
    fc.property(fc.array(fc.tuple(key, value), { maxLength: 5 }), fc.nat(200), (pairs, cut) => {
      const text = `{${pairs.map(([k, v]) => `${JSON.stringify(k)}:${JSON.stringify(v)}`).join(",")}}`;
      for (const sent of [text, text.slice(0, cut), text + text]) {
        try {
          for (const name of Object.keys(decode(sent))) expect(Object.hasOwn(FIELDS, name)).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(InvalidArgumentError);
        }
      }
    }),
    { seed: 20_261_124, numRuns: 2_000 },
  );
});

test("what follows the first value is ignored", () => {
  expect(parseBody(Buffer.from('{"a":"}"} trailing'))).toEqual({ a: "}" });
});
