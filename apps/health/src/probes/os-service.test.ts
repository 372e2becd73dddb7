import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { testContext } from "../testing.ts";
import { probe } from "./os-service.ts";

const run = (OSService: string) => probe({ CheckID: "c", OSService }, testContext());

test("says so where there is no systemd, and asks it where there is", async () => {
  const { status, output } = await run("no-such-service-of-heddle");
  expect(status).toBe("critical");
  if (existsSync("/run/systemd/system")) expect(output).toMatch(/^Service "no-such-service-of-heddle" is unhealthy: /);
  else expect(output).toBe('cannot check service "no-such-service-of-heddle": systemd is not running on this host');
});

test.each(["", "-H", "--help", "a b", "a;b", "../x"])("refuses the name '%s'", async (name) => {
  expect((await run(name)).output).toContain("invalid service name");
});
