import { describe, expect, it } from "vitest";
import { columns, formatJson, pairs, parseExact } from "./output.ts";

describe("output", () => {
  it("pads columns and leaves no space at a line's end", () => {
    expect(
      columns([
        ["Node", "ID"],
        ["läng-er", "1"],
        ["a", ""],
      ]),
    ).toBe("Node     ID\nläng-er  1\na\n");
  });

  it("keeps integers that a double cannot hold, and other numbers as numbers", () => {
    const text = '[{"Flags":18446744073709551615,"small":1,"half":0.5,"big":1e300,"text":"18446744073709551615"}]';
    expect(parseExact(text)).toEqual([
      { Flags: 18446744073709551615n, small: 1, half: 0.5, big: 1e300, text: "18446744073709551615" },
    ]);
    expect(formatJson(parseExact(text), 0)).toBe(
      '[{"Flags":18446744073709551615,"small":1,"half":0.5,"big":1e+300,"text":"18446744073709551615"}]',
    );
  });

  it("lists pairs by key", () => {
    expect(pairs({ b: "2", a: "1" })).toBe("a=1, b=2");
    expect(pairs(null)).toBe("");
  });
});
