import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ServerList } from "./servers.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => void vi.useRealTimers());

test("connections that are made anew leave the server where it is: what fails with them says nothing of it", () => {
  const servers = new ServerList(["http://a:1", "http://b:1"], () => 0);
  const left: string[] = [];
  let failures = 0;
  servers.onMove((url) => left.push(url));
  servers.onFailure(() => failures++);
  servers.renew();
  expect(servers.isRenewing).toBe(true);
  servers.failed("http://a:1");
  expect([servers.current, left, failures]).toEqual(["http://a:1", ["http://a:1"], 0]);
  vi.advanceTimersByTime(1_000);
  servers.failed("http://a:1");
  expect([servers.current, failures]).toEqual(["http://b:1", 1]);
});

test("a server that fails is left for the next one, once for all who say so", () => {
  const servers = new ServerList(["http://a:1", "http://b:1"], () => 0);
  const left: string[] = [];
  servers.onMove((url) => left.push(url));
  servers.failed("http://a:1");
  servers.failed("http://a:1");
  expect([servers.current, left]).toEqual(["http://b:1", ["http://a:1"]]);
});
