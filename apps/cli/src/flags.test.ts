import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { flag, parseFlags } from "./flags.ts";

const TABLE = {
  cas: flag.boolean("Boolean."),
  modifyIndex: flag.uint64("Number."),
  name: { ...flag.text("Text.", "none"), env: ["HEDDLE_NAME", "CONSUL_NAME"] },
  tag: flag.list("List."),
  meta: flag.pairs("Pairs."),
  port: flag.integer("Port.", 0, 65_535, 0),
  format: flag.format(),
};
const DEFAULTS = { cas: false, modifyIndex: 0n, name: "none", tag: [], meta: {}, port: 0, format: "pretty" };
const parse = (argv: string[], env: Record<string, string> = {}, isData = false) =>
  parseFlags(TABLE, argv, env, isData);

describe("flags", () => {
  it.each<[string, string[], Partial<typeof DEFAULTS>, string[]]>([
    ["one dash", ["-name", "web"], { name: "web" }, []],
    ["two dashes", ["--name", "web"], { name: "web" }, []],
    ["an equals sign", ["-name=web=1", "--port=80"], { name: "web=1", port: 80 }, []],
    ["an empty value", ["-name="], { name: "" }, []],
    ["a value that looks like a flag", ["-name", "-cas"], { name: "-cas" }, []],
    ["a boolean takes no next word", ["-cas", "true"], { cas: true }, ["true"]],
    ["a boolean switched off", ["-cas=false"], { cas: false }, []],
    ["the last one counts", ["-name=a", "-name=b"], { name: "b" }, []],
    ["flags behind arguments", ["key", "-cas"], { cas: true }, ["key"]],
    ["nothing is a flag behind --", ["--", "-cas", "x"], {}, ["-cas", "x"]],
    ["a dash alone and a negative number are arguments", ["-", "-5"], {}, ["-", "-5"]],
    ["lists", ["-tag=a", "-tag", "b\nc"], { tag: ["a", "b\nc"] as never[] }, []],
    ["pairs", ["-meta=a=1=2", "-meta", "b="], { meta: { a: "1=2", b: "" } }, []],
    ["2^64-1", ["-modify-index=18446744073709551615"], { modifyIndex: 18446744073709551615n }, []],
    ["hexadecimal", ["-modify-index", "0x10"], { modifyIndex: 16n }, []],
  ])("%s", (_name, argv, values, args) => {
    expect(parse(argv)).toMatchObject({ values: { ...DEFAULTS, ...values }, args, problems: [], wantsHelp: false });
  });

  it.each([
    ["-bogus", "flag provided but not defined: -bogus"],
    ["-name", "flag needs an argument: -name"],
    ["-cas=maybe", 'invalid value "maybe" for flag -cas: want true or false'],
    ["-port=65536", 'invalid value "65536" for flag -port: want a whole number from 0 to 65535'],
    ["-port=1e3", 'invalid value "1e3" for flag -port: want a whole number from 0 to 65535'],
    [
      "-modify-index=18446744073709551616",
      'invalid value "18446744073709551616" for flag -modify-index: want a whole number from 0 to 18446744073709551615',
    ],
    ["-meta=x", 'invalid value "x" for flag -meta: want key=value'],
    ["-format=xml", 'invalid value "xml" for flag -format: want one of pretty, json'],
  ])("names what is wrong with %s", (argument, problem) => {
    expect(parse([argument]).problems).toEqual([problem]);
  });

  it("tells every problem at once", () => {
    expect(parse(["-port=x", "-bogus", "-cas=2"]).problems).toHaveLength(3);
  });

  it("reads variables in order, and flags before them", () => {
    expect(parse([], { CONSUL_NAME: "c" }).values.name).toBe("c");
    expect(parse([], { CONSUL_NAME: "c", HEDDLE_NAME: "h" }).values.name).toBe("h");
    expect(parse(["-name=f"], { HEDDLE_NAME: "h" }).values.name).toBe("f");
  });

  it("takes what follows the first argument as data where the command says so", () => {
    expect(parse(["-cas", "key", "-cas=x", "--help"], {}, true)).toMatchObject({
      values: { cas: true },
      args: ["key", "-cas=x", "--help"],
      wantsHelp: false,
    });
  });

  it.each(["-h", "-help", "--help"])("knows %s", (argument) => expect(parse([argument]).wantsHelp).toBe(true));

  it("keeps keys such as __proto__ as they are", () => {
    expect(Object.entries(parse(["-meta=__proto__=x"]).values.meta)).toEqual([["__proto__", "x"]]);
  });

  it("gives every value back as it was given", () => {
    fc.assert(
      fc.property(fc.string(), fc.array(fc.string()), (name, tags) => {
        const argv = [`-name=${name}`, ...tags.flatMap((tag) => ["--tag", tag])];
        expect(parse(argv)).toMatchObject({ values: { name, tag: tags }, args: [], problems: [] });
      }),
    );
  });
});
