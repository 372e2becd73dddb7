import { describe, expect, it } from "vitest";
import { checkType, parseCheckDefinition } from "./index.ts";

describe("parseCheckDefinition", () => {
  it("names a check by its name, and keeps only what was given", () => {
    expect(parseCheckDefinition({ Name: "my ttl", TTL: "10m", Notes: "n", ServiceID: "web", Token: "t" })).toEqual({
      CheckID: "my ttl",
      Name: "my ttl",
      Notes: "n",
      ServiceID: "web",
      Token: "t",
      TTLMs: 600_000,
    });
  });

  it("raises what is too short, and takes nanoseconds in a request", () => {
    const check = parseCheckDefinition({
      Name: "x",
      TCP: "a:1",
      Interval: "1ns",
      DeregisterCriticalServiceAfter: "1s",
    });
    expect(check).toMatchObject({ IntervalMs: 1_000, DeregisterCriticalServiceAfterMs: 60_000 });
    expect(parseCheckDefinition({ ID: "dn", Name: "dn", TTL: 10_000_000_000 }).TTLMs).toBe(10_000);
    expect(() => parseCheckDefinition({ name: "x", ttl: 5 }, { source: "file" })).toThrow("ttl: invalid value 5");
  });

  it("wants a name, or in a file an id", () => {
    expect(parseCheckDefinition({ id: "x", ttl: "5s" }, { source: "file" })).toMatchObject({ CheckID: "x", Name: "" });
    expect(() => parseCheckDefinition({ ttl: "5s" }, { source: "file" })).toThrow("Missing check name");
    expect(() => parseCheckDefinition({ ID: "x", TTL: "5s" })).toThrow("Missing check name");
  });

  it("reads the further spellings", () => {
    for (const key of ["Args", "args", "ScriptArgs", "script_args"])
      expect(parseCheckDefinition({ Name: "x", [key]: ["a"], Interval: "5s" }).Args).toEqual(["a"]);
    expect(parseCheckDefinition({ name: "x", alias_service: "y" }, { source: "file" }).AliasService).toBe("y");
    expect(parseCheckDefinition({ Name: "x", H2PING: "a:1", Interval: "5s" }).H2PingUseTLS).toBe(true);
    expect(parseCheckDefinition({ Name: "x", h2ping: "a:1", h2ping_use_tls: false, interval: "5s" }).H2PingUseTLS).toBe(
      false,
    );
  });

  it.each<[unknown, string]>([
    [{ TTL: "5s" }, "Missing check name"],
    [{ Name: "x" }, "Invalid check: TTL must be > 0 for TTL checks"],
    [{ Name: "x", HTTP: "http://x" }, "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks"],
    [
      { Name: "x", HTTP: "http://x", Interval: "1s", ScriptUser: "y" },
      "Invalid check: ScriptUser goes with Args alone",
    ],
    [{ Name: "x", Args: ["a"] }, "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks"],
    [{ Name: "x", TCP: "a:1", Interval: "5s", TTL: "5s" }, "Invalid check: Interval and TTL cannot both be specified"],
    [{ Name: "x", AliasService: "y", TTL: "5s" }, "Invalid check: TTL must be not be set for Alias checks"],
    [
      { Name: "x", AliasService: "y", HTTP: "z", Interval: "5s" },
      "Invalid check: Interval cannot be set for Alias checks",
    ],
    [{ Name: "x", TTL: "5s", OutputMaxSize: -1 }, "Invalid check: MaxOutputMaxSize must be positive"],
    [
      { Name: "x", TCP: "a:1", Interval: "5s", FailuresBeforeWarning: 2, FailuresBeforeCritical: 1 },
      "Invalid check: FailuresBeforeWarning can't be higher than FailuresBeforeCritical",
    ],
    [{ Name: "x", TTL: "5s", Status: "great" }, "Bad check status"],
    [{ Name: "x", TTL: "soon" }, 'Request decode failed: time: invalid duration "soon"'],
    [{ name: "x", alias_node: "" }, 'Request decode failed: json: unknown field "alias_node"'],
  ])("refuses %j", (input, message) => {
    expect(() => parseCheckDefinition(input)).toThrow(message);
  });

  it.each<[object, string]>([
    [{ TTL: "5s" }, "ttl"],
    [{ HTTP: "x" }, "http"],
    [{ TCP: "x" }, "tcp"],
    [{ UDP: "x" }, "udp"],
    [{ GRPC: "x" }, "grpc"],
    [{ H2PING: "x" }, "h2ping"],
    [{ OSService: "x" }, "os_service"],
    [{ Args: ["x"] }, "script"],
    [{ Args: ["x"], DockerContainerID: "c" }, "docker"],
    [{ AliasService: "x" }, "alias"],
    [{ AliasNode: "x" }, "alias"],
  ])("knows the type of %j", (given, type) => {
    const isProbe = !("TTL" in given || "AliasService" in given || "AliasNode" in given);
    expect(checkType(parseCheckDefinition({ Name: "x", ...given, ...(isProbe && { Interval: "5s" }) }))).toBe(type);
  });
});
