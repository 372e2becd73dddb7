import { describe, expect, it } from "vitest";
import { decode, describeProblem, fields, nearest, type Problem, toSnake } from "./index.ts";

const table = fields.object(() => ({
  Name: fields.string(),
  Port: fields.integer(0, 65_535, { want: "a port" }),
  Wait: fields.duration(),
  Tags: fields.list(fields.string()),
  Meta: fields.map(fields.string()),
  Mode: fields.oneOf(["a", "b"]),
  GRPCUseTLS: fields.boolean(),
  Token: fields.integer(),
  Inner: fields.object(() => ({ Rate: fields.number(), Any: fields.anyMap() })),
}));

function run(value: unknown, options = {}) {
  const problems: Problem[] = [];
  return { decoded: decode(table, value, (p) => problems.push(p), options), problems: problems.map(describeProblem) };
}

describe("decode", () => {
  it("knows a key in each of its spellings", () => {
    for (const key of ["GRPCUseTLS", "grpcusetls", "grpc_use_tls", "Grpc_Use_Tls"])
      expect(run({ [key]: true }).decoded).toEqual({ GRPCUseTLS: true });
  });

  it("takes null as not given, a list of one as its item, and a block as a list where there are blocks", () => {
    expect(run({ name: null, tags: null }).decoded).toEqual({});
    expect(run({ name: ["x"], inner: [{ rate: 1 }] }).decoded).toEqual({ Name: "x", Inner: { Rate: 1 } });
    const list = fields.list(fields.object(() => ({ A: fields.integer() })));
    expect(decode(list, { a: 1 }, () => {}, { blocks: true })).toEqual([{ A: 1 }]);
  });

  it("keeps null in a request's lists and maps as the zero value of its type", () => {
    const body = { Tags: ["a", null], Meta: { k: null }, Inner: { Any: { a: null } }, Wait: true };
    expect(run(body, { isRequest: true })).toEqual({
      decoded: { Tags: ["a", ""], Meta: { k: "" }, Inner: { Any: { a: null } } },
      problems: [],
    });
  });

  it("reads durations as milliseconds, and numbers of nanoseconds in requests", () => {
    expect(run({ wait: "1m30s" }).decoded).toEqual({ Wait: 90_000 });
    expect(run({ wait: 1_500_000_000 }, { isRequest: true }).decoded).toEqual({ Wait: 1_500 });
    expect(run({ wait: 10 }).problems).toEqual(["wait: invalid value 10: want a duration such as '10s' or '1h30m'"]);
  });

  it("tells every problem, with its path", () => {
    expect(
      run({ nam: 1, port: 70_000, tags: ["a", 1], meta: { k: 5 }, mode: "c", inner: { rate: "x", bogus: 1 } }).problems,
    ).toEqual([
      "unknown key 'nam': did you mean 'name'?",
      "port: invalid value 70000: want a port",
      "tags[1]: invalid value 1: want text",
      "meta.k: invalid value 5: want text",
      "mode: invalid value \"c\": want one of 'a', 'b'",
      'inner.rate: invalid value "x": want a number',
      "unknown key 'bogus' in inner: known here are rate, any",
    ]);
  });

  it("never shows what may be a secret", () => {
    expect(run({ token: "s3cret" }).problems).toEqual(["token: invalid value: want a whole number"]);
  });

  it("keeps __proto__ an ordinary key of a map and an unknown key of a block", () => {
    const { decoded, problems } = run(JSON.parse('{"meta":{"__proto__":"x"},"__proto__":1}'));
    expect(Object.entries(decoded?.Meta ?? {})).toEqual([["__proto__", "x"]]);
    expect(problems).toHaveLength(1);
  });
});

describe("names", () => {
  it.each([
    ["TaggedAddresses", "tagged_addresses"],
    ["GRPCUseTLS", "grpc_use_tls"],
    ["H2PingUseTLS", "h2ping_use_tls"],
    ["ID", "id"],
    ["DestinationServiceID", "destination_service_id"],
    ["TLSSkipVerify", "tls_skip_verify"],
  ])("%s is %s in a file", (name, snake) => expect(toSnake(name)).toBe(snake));

  it.each([
    ["prots", "ports"],
    ["datacentre", "datacenter"],
    ["DATA_DIR", "data_dir"],
    ["zzzzzz", undefined],
  ])("%s most likely means %s", (word, meant) =>
    expect(nearest(word, ["ports", "datacenter", "data_dir", "ports_x"])).toBe(meant),
  );
});
