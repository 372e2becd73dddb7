import { expect, test } from "vitest";
import { refuseOldNode } from "./main.ts";

test.each([
  ["24.18.1", true],
  ["24.19.0", true],
  ["26.0.0", true],
  ["24.18.0", false],
  ["24.9.9", false],
  ["22.30.0", false],
])("Node %s is new enough: %s", (version, isFine) => {
  expect(refuseOldNode(version) === undefined).toBe(isFine);
});
