import { describe, expect, it } from "vitest";
import { candidates } from "./commands/completion.ts";
import { distance } from "./commands/rtt.ts";

describe("completion", () => {
  it.each([
    ["heddle kv", ["kv"]],
    ["heddle kv ", ["delete", "export", "get", "import", "put"]],
    ["heddle connect ca s", ["set-config", "set-intermediate", "status"]],
    ["heddle kv get -det", ["-detailed"]],
    ["heddle kv get --det", ["-detailed"]],
    ["heddle kv get x", []],
    ["heddle agent -dat", ["-datacenter", "-data-dir"]],
    ["heddle connect proxy -side", ["-sidecar-for"]],
    ["heddle serve c", ["catalog", "ca"]],
    ["heddle bogus x", []],
  ])("%s", async (line, words) => expect(await candidates(line)).toEqual(words));
});

describe("round-trip time", () => {
  it.each([
    [{ Vec: [3, 4], Error: 1, Adjustment: 0, Height: 0 }, { Vec: [0, 0], Error: 1, Adjustment: 0, Height: 0 }, 5],
    [{ Vec: [0], Error: 1, Adjustment: 0, Height: 1 }, { Vec: [0], Error: 1, Adjustment: 0.5, Height: 2 }, 3.5],
    [{ Vec: [0], Error: 1, Adjustment: -9, Height: 1 }, { Vec: [0], Error: 1, Adjustment: 0, Height: 2 }, 3],
  ])("%j to %j is %d s", (a, b, seconds) => expect(distance(a, b)).toBe(seconds));
});
