/** The checker itself, on histories that are known to be good or bad. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isLinearizable, type Operation } from "./linearizability.ts";
import { type KeysOutput, keysModel, type KeyStep, lockModel, type LockStep } from "./models.ts";

type KeyOp = Operation<readonly KeyStep[], KeysOutput>;
const put = (value: string, call: number, end: number, isDone: boolean | undefined = true): KeyOp => ({
  input: [{ type: "put", key: "k", value }],
  output: isDone === undefined ? undefined : { isDone, read: {} },
  ...{ call, return: end },
});
const unanswered = (value: string, call: number): KeyOp => ({ ...put(value, call, Infinity), output: undefined });
const get = (value: string | undefined, call: number, end: number): KeyOp => ({
  input: [{ type: "get", key: "k" }],
  output: { isDone: true, read: { k: value } },
  ...{ call, return: end },
});
const cas = (expected: string | undefined, value: string, isDone: boolean, call: number, end: number): KeyOp => ({
  input: [{ type: "cas", key: "k", expected, value }],
  output: { isDone, read: {} },
  ...{ call, return: end },
});

describe("a history of a key", () => {
  it.each<[string, boolean, KeyOp[]]>([
    ["nothing", true, []],
    ["a read after a write sees it", true, [put("1", 0, 1), get("1", 2, 3)]],
    ["a read after a write that does not", false, [put("1", 0, 1), get(undefined, 2, 3)]],
    ["a read during a write sees either", true, [put("1", 0, 10), get(undefined, 1, 2), get("1", 3, 4)]],
    ["but not back again", false, [put("1", 0, 10), get("1", 1, 2), get(undefined, 3, 4)]],
    [
      "two writes at once, two readers that agree",
      true,
      [put("1", 0, 9), put("2", 0, 9), get("1", 1, 3), get("2", 4, 5), get("2", 6, 7)],
    ],
    [
      "two writes at once, two readers that do not",
      false,
      [put("1", 0, 2), put("2", 0, 2), get("1", 3, 4), get("2", 5, 6)],
    ],
    [
      "one compare-and-set of two wins",
      true,
      [put("1", 0, 1), cas("1", "2", true, 2, 5), cas("1", "3", false, 2, 5), get("2", 6, 7)],
    ],
    ["both win", false, [put("1", 0, 1), cas("1", "2", true, 2, 5), cas("1", "3", true, 2, 5)]],
    ["none wins although nothing was in the way", false, [put("1", 0, 1), cas("1", "2", false, 2, 5)]],
    ["a write without an answer took place late", true, [unanswered("1", 0), get(undefined, 1, 2), get("1", 8, 9)]],
    ["a write without an answer never took place", true, [unanswered("1", 0), put("2", 1, 2), get("2", 3, 4)]],
    ["a write without an answer took place before its call", false, [get("1", 0, 1), unanswered("1", 2)]],
    ["an acknowledged write is lost", false, [put("1", 0, 1), put("2", 2, 3), get("1", 4, 5)]],
  ])("%s: %s", (_title, isGood, history) => {
    expect(isLinearizable(keysModel, history)).toBe(isGood);
  });

  it("of a transaction is seen whole or not at all", () => {
    const both: KeyOp = {
      input: [
        { type: "put", key: "a", value: "1" },
        { type: "put", key: "b", value: "2" },
      ],
      output: { isDone: true, read: {} },
      ...{ call: 0, return: 10 },
    };
    const read = (a: string | undefined, b: string | undefined): KeyOp => ({
      input: [
        { type: "get", key: "a" },
        { type: "get", key: "b" },
      ],
      output: { isDone: true, read: { a, b } },
      ...{ call: 1, return: 2 },
    });
    expect(isLinearizable(keysModel, [both, read("1", "2")])).toBe(true);
    expect(isLinearizable(keysModel, [both, read(undefined, undefined)])).toBe(true);
    expect(isLinearizable(keysModel, [both, read("1", undefined)])).toBe(false);
  });
});

describe("a history of a lock", () => {
  const step = (
    type: LockStep["type"],
    session: string,
    output: boolean,
    call: number,
  ): Operation<LockStep, boolean> => ({
    ...{ input: { type, session }, output, call, return: call + 1 },
  });
  it("is good where one holds it at a time", () => {
    expect(
      isLinearizable(lockModel, [
        step("acquire", "a", true, 0),
        step("acquire", "b", false, 2),
        step("destroy", "a", true, 4),
        step("acquire", "b", true, 6),
      ]),
    ).toBe(true);
  });
  it("is bad where two hold it, or where nobody gets it although it is free", () => {
    expect(isLinearizable(lockModel, [step("acquire", "a", true, 0), step("acquire", "b", true, 2)])).toBe(false);
    expect(
      isLinearizable(lockModel, [
        step("acquire", "a", true, 0),
        step("release", "a", true, 2),
        step("acquire", "b", false, 4),
      ]),
    ).toBe(false);
  });
});

it("every history of a real register is good, and stays so however the answers are late; one that is bent is not", () => {
  const action = fc.record({ isPut: fc.boolean(), gap: fc.nat(3), late: fc.nat(12), early: fc.nat(12) });
  fc.assert(
    fc.property(fc.array(action, { minLength: 1, maxLength: 30 }), (actions) => {
      let value: string | undefined;
      let now = 0;
      const history = actions.map(({ isPut, gap, late, early }, i): KeyOp => {
        now += gap + 1;
        if (!isPut) return get(value, now - early, now + late);
        value = `v${i}`;
        return put(value, now - early, now + late);
      });
      expect(isLinearizable(keysModel, history)).toBe(true);
      // Somebody reads what nobody wrote.
      expect(isLinearizable(keysModel, [...history, get("never written", now, now + 1)])).toBe(false);
    }),
  );
});
