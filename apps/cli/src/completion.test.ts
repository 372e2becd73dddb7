import { describe, expect, it } from "vitest";
import { candidates } from "./commands/completion.ts";
import { COMMANDS, type Entry } from "./commands.ts";
import { commandHelp } from "./help.ts";
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

  it("knows every command and every flag of each", async () => {
    let flags = 0;
    const visit = async (entry: Entry, line: string): Promise<void> => {
      if ("commands" in entry) {
        expect(await candidates(`${line} `)).toEqual(Object.keys(entry.commands));
        for (const [name, next] of Object.entries(entry.commands)) await visit(next, `${line} ${name}`);
      } else if ("load" in entry) {
        const help = commandHelp(await entry.load());
        const told = [...help.matchAll(/^ {2}(-[\w-]+)/gm)].map(([, flag = ""]) => flag);
        expect(await candidates(`${line} -`), line).toEqual([...new Set([...told, "-help"])].toSorted());
        flags += told.length;
      }
    };
    await visit(COMMANDS, "heddle");
    expect(flags).toBeGreaterThan(500);
  });
});

describe("round-trip time", () => {
  it.each([
    [{ Vec: [3, 4], Error: 1, Adjustment: 0, Height: 0 }, { Vec: [0, 0], Error: 1, Adjustment: 0, Height: 0 }, 5],
    [{ Vec: [0], Error: 1, Adjustment: 0, Height: 1 }, { Vec: [0], Error: 1, Adjustment: 0.5, Height: 2 }, 3.5],
    [{ Vec: [0], Error: 1, Adjustment: -9, Height: 1 }, { Vec: [0], Error: 1, Adjustment: 0, Height: 2 }, 3],
  ])("%j to %j is %d s", (a, b, seconds) => expect(distance(a, b)).toBe(seconds));
});
