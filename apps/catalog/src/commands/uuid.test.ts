import { expect, it } from "vitest";
import { normalizedUuid, uuidProblem } from "./uuid.ts";

it.each([
  ["x", "index error: UUID must be 36 characters"],
  ["zzzzzzzz-1111-1111-1111-111111111111", "index error: Invalid UUID: encoding/hex: invalid byte: U+007A 'z'"],
  ["1-1-1-1-1-11111111111111111111111111", 'index error: UUID should have maximum of 4 "-"; got 5'],
  ["111111111111111111111111111111111111", undefined],
  ["11111111-1111-1111-1111-111111111111", undefined],
])("%s: %s", (id, problem) => expect(uuidProblem(id)).toBe(problem));

it("finds an id whatever the case of its digits", () => {
  expect(normalizedUuid("ABCDEFAB-1111-1111-1111-111111111111")).toBe("abcdefab-1111-1111-1111-111111111111");
});
