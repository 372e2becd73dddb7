import { parseHcl } from "@heddle/hcl";
import { describe, expect, it } from "vitest";
import { parseWatch } from "./definition.ts";

describe("a watch of the configuration", () => {
  it.each<[string, Record<string, unknown>, unknown]>([
    [
      "a program with arguments",
      { type: "key", key: "a", args: ["/bin/x", "-y"] },
      { kind: "script", argv: ["/bin/x", "-y"], isShell: false },
    ],
    [
      "a program alone",
      { type: "key", key: "a", handler_type: "script", args: "/bin/x" },
      { kind: "script", argv: ["/bin/x"], isShell: false },
    ],
    [
      "a line for the shell",
      { type: "key", key: "a", handler: "cat | wc" },
      { kind: "script", argv: ["cat | wc"], isShell: true },
    ],
  ])("%s", (_name, block, handler) => expect(parseWatch(block).handler).toEqual(handler));

  it("takes an HTTP endpoint from HCL", () => {
    const { value } = parseHcl(
      `watches = [{
        type = "services"
        handler_type = "http"
        http_handler_config {
          path = "https://localhost:8000/watch"
          method = "PUT"
          header = { "x-foo" = ["bar", "baz"] }
          timeout = "2s"
          tls_skip_verify = true
        }
      }]`,
      "x.hcl",
    );
    const [block] = value.watches as Record<string, unknown>[];
    expect(parseWatch(block as Record<string, unknown>)).toMatchObject({
      label: "services",
      handler: {
        kind: "http",
        url: "https://localhost:8000/watch",
        method: "PUT",
        headers: { "x-foo": ["bar", "baz"] },
        timeoutMs: 2000,
        tlsSkipVerify: true,
      },
    });
  });

  it.each<[Record<string, unknown>, string]>([
    [{ type: "nodes" }, "Must define a watch handler"],
    [{ type: "nodes", handler: "a", fire_on: "boot" }, 'invalid fire_on "boot": want initial or change'],
    [{ type: "nodes", handler: "a", args: ["b"] }, "Only one watch handler allowed"],
    [{ type: "nodes", handler: "a", handler_type: "http", http_handler_config: {} }, "Only one watch handler allowed"],
    [{ type: "nodes", handler: 1 }, "Watch handler must be a string"],
    [{ type: "nodes", args: ["a", 1] }, "Watch args must be a list of strings"],
    [{ type: "nodes", handler_type: "http" }, "Handler type 'http' requires 'http_handler_config' to be set"],
    [{ type: "nodes", handler_type: "mail" }, "invalid handler_type 'mail': want script or http"],
    [{ type: "nodes", handler_type: "http", http_handler_config: 1 }, "want one block of keys"],
    [{ type: "key", args: ["a"] }, "Must specify a single key to watch"],
    [{ type: "nodes", args: ["a"], bogus: 1 }, "Invalid parameters: [bogus]"],
  ])("%j is refused: %s", (block, message) => expect(() => parseWatch(block)).toThrow(message));
});
