import { expect, test } from "vitest";
import { formatJoinLine, isJoinLine, parseJoinLine } from "./join-line.ts";

const line = { fingerprint: "ab".repeat(32), token: "0123456789ab.secretsecret" };

test.each(["10.0.0.1:8300", "[fd00::1]:8300", "server.example:8300"])(
  "a line for %s comes back as it was",
  (address) => {
    const text = formatJoinLine({ ...line, address });
    expect(parseJoinLine(` ${text}\n`)).toEqual({ ...line, address });
    expect([isJoinLine(text), isJoinLine(address)]).toEqual([true, false]);
  },
);

test.each([
  ["10.0.0.1/sha256:x/token", "no address in '10.0.0.1'"],
  [`10.0.0.1:8300/sha256:${"a".repeat(63)}/0123456789abcdef`, "no fingerprint"],
  [`10.0.0.1:8300/sha256:${"a".repeat(64)}/short`, "no token"],
  [`http://10.0.0.1:8300/sha256:${"a".repeat(64)}/0123456789abcdef`, "too many parts"],
])("%s is refused, without its token", (text, why) => {
  expect(() => parseJoinLine(text)).toThrow(why);
  expect(() => parseJoinLine(text)).not.toThrow("0123456789abcdef");
});
