import { InvalidArgumentError } from "@heddle/daemon";
import { expect, test } from "vitest";
import { parseCheck, parseSync } from "./check.ts";

const check = (fields: Record<string, unknown>) => ({ CheckID: "c", IntervalMs: 1_000, TCP: "127.0.0.1:1", ...fields });
const sync = (...checks: unknown[]) => JSON.stringify({ type: "sync", checks });

test("reads what it needs and leaves the rest", () => {
  const parsed = parseCheck(check({ Name: "n", Token: "secret", Header: { "X-A": ["1", "2"] }, TimeoutMs: null }));
  expect(parsed).toEqual({ CheckID: "c", IntervalMs: 1_000, TCP: "127.0.0.1:1", Header: { "X-A": ["1", "2"] } });
});

test("equal definitions give equal JSON whatever the order of their keys", () => {
  const a = parseCheck({ CheckID: "c", TCP: "x:1", IntervalMs: 5 });
  const b = parseCheck({ IntervalMs: 5, TCP: "x:1", CheckID: "c" });
  expect(JSON.stringify(a)).toBe(JSON.stringify(b));
});

test("a header may have any name", () => {
  const parsed = parseCheck(
    JSON.parse(`{"CheckID":"c","IntervalMs":1,"HTTP":"http://x","Header":{"__proto__":["1"]}}`),
  );
  expect(Object.entries(parsed.Header ?? {})).toEqual([["__proto__", ["1"]]]);
  expect(({} as Record<string, unknown>)[0]).toBeUndefined();
});

test.each([
  ["{", "a message is not valid JSON"],
  ["null", 'unknown message type undefined: want "sync"'],
  ["[]", 'unknown message type undefined: want "sync"'],
  [`{"type":"drop"}`, 'unknown message type "drop": want "sync"'],
  [`{"type":"sync"}`, '"checks" must be a list of check definitions'],
  [sync(1), "checks[0] must be an object"],
  [sync({ TCP: "x:1" }), "checks[0] has no CheckID"],
  [sync(check({}), check({})), 'check "c" is given twice'],
  [
    sync(check({}), check({ CheckID: "d" }), check({ CheckID: "e" })),
    "too many checks: 3, the limit is 2 (-max-checks)",
  ],
  [sync(check({ CheckID: "x".repeat(2_000) })), "checks[0] has no CheckID of 1 to 1024 bytes"],
])("refuses the message %#: %s", (text, message) => {
  expect(() => parseSync(text, 2)).toThrow(InvalidArgumentError);
  expect(() => parseSync(text, 2)).toThrow(message);
});

test.each([
  [{ IntervalMs: undefined }, 'check "c" has no IntervalMs'],
  [{ IntervalMs: "10s" }, 'check "c": IntervalMs is "10s": want milliseconds'],
  [{ IntervalMs: -1 }, 'check "c": IntervalMs is -1: want milliseconds'],
  [
    { TCP: undefined },
    'check "c" has nothing to probe: want one of HTTP, TCP, UDP, GRPC, H2PING, Args, DockerContainerID, OSService',
  ],
  [{ TCP: 1 }, 'check "c": TCP is 1: want text'],
  [{ TLSSkipVerify: "yes" }, 'check "c": TLSSkipVerify is "yes": want true or false'],
  [{ Args: ["a", 1] }, 'check "c": Args is ["a",1]: want a list of text'],
  [{ Header: { a: "b" } }, 'check "c": Header is {"a":"b"}: want a map of lists of text'],
  [{ OutputMaxSize: 1.5 }, 'check "c": OutputMaxSize is 1.5: want a whole number from 0'],
  [{ HTTP: `http://x/${"y".repeat(9_000)}` }, "want at most 8192 bytes"],
  [{ Args: ["x".repeat(200_000)] }, "want at most 1024 arguments of 131072 bytes in all"],
])("refuses a definition by itself %#: %j", (fields, why) => {
  const { checks, refused } = parseSync(sync(check(fields), check({ CheckID: "other" })), 2);
  expect(checks.map((c) => c.CheckID)).toEqual(["other"]);
  expect(refused.get("c")).toContain(why);
});
