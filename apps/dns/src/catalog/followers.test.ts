import { silentLog } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { describe, expect, test } from "vitest";
import { type CatalogStream, Follower } from "./follower.ts";
import { Followers } from "./followers.ts";

/** A stream whose answers the test gives by hand. */
function byHand() {
  const open = new Map<string, Parameters<CatalogStream["subscribe"]>[1]>();
  const stream: CatalogStream = {
    connected: true,
    subscribe(path, handlers) {
      open.set(path, handlers);
      return { close: () => void open.delete(path) };
    },
  };
  const clock = new ManualClock();
  const deps = { stream, clock, log: silentLog };
  const answer = (path: string, body: unknown) => open.get(path)?.onAnswer({ index: 1, body });
  return { open, clock, deps, answer };
}

describe("Follower", () => {
  test("the first answer settles all who wait, later ones are at hand", async () => {
    const { deps, answer } = byHand();
    const follower = new Follower("/a", Number, deps);
    const waiting = [follower.get(), follower.get()];
    answer("/a", "1");
    expect(await Promise.all(waiting.map(async (w) => w))).toEqual([1, 1]);
    answer("/a", "2");
    expect(follower.get()).toBe(2);
  });

  test("waiting ends after two seconds, and with the follower", async () => {
    const { deps, clock, open } = byHand();
    const follower = new Follower("/a", Number, deps);
    const late = expect(follower.get()).rejects.toThrow("no answer to /a from the catalog yet");
    clock.advance(2_000);
    await late;
    const closed = expect(follower.get()).rejects.toThrow("no longer following /a");
    follower.close();
    await closed;
    await expect(follower.get()).rejects.toThrow("no longer following /a");
    expect(open.size).toBe(0);
  });

  test("a subscription that the catalog ends is asked for again, the last answer stays", () => {
    const { deps, clock, open, answer } = byHand();
    const follower = new Follower("/a", Number, deps);
    answer("/a", "1");
    open.get("/a")?.onError?.(new Error("too many subscriptions"));
    open.delete("/a");
    expect(follower.get()).toBe(1);
    clock.advance(1_000);
    answer("/a", "3");
    expect(follower.get()).toBe(3);
  });

  test("a catalog of the same process is asked for what is newest", () => {
    let count = 0;
    const stream: CatalogStream = {
      connected: true,
      subscribe: (_path, handlers) => ({
        poll: () => handlers.onAnswer({ index: count, body: ++count }),
        close: () => {},
      }),
    };
    const follower = new Follower("/a", Number, { stream, clock: new ManualClock(), log: silentLog });
    expect([follower.get(), follower.get()]).toEqual([1, 2]);
  });

  test("an answer that cannot be read leaves the last one", () => {
    const { deps, answer } = byHand();
    const read = (body: unknown) => {
      if (body === "bad") throw new Error("bad");
      return Number(body);
    };
    const follower = new Follower("/a", read, deps);
    answer("/a", "1");
    answer("/a", "bad");
    expect(follower.get()).toBe(1);
  });
});

describe("Followers", () => {
  const make = (max: number) => {
    const hand = byHand();
    const followers = new Followers<number>({
      max,
      clock: hand.clock,
      create: (name) => new Follower(name, Number, hand.deps),
    });
    const ask = async (name: string) => {
      const value = followers.get(name);
      hand.answer(name, "1");
      await value;
    };
    return { ...hand, followers, ask };
  };

  test("the one unused for longest makes room", async () => {
    const { ask, open } = make(2);
    for (const name of ["a", "b", "a", "c"]) await ask(name);
    expect([...open.keys()].toSorted()).toEqual(["a", "c"]);
  });

  test("those unused for ten minutes are let go", async () => {
    const { ask, open, clock } = make(10);
    await ask("old");
    await ask("used");
    for (let minute = 0; minute < 12; minute++) {
      clock.advance(60_000);
      await ask("used");
    }
    expect([...open.keys()]).toEqual(["used"]);
  });

  test("no more names wait for the catalog than it can answer", async () => {
    const { followers, answer } = make(1_000);
    const waiting = Array.from({ length: 256 }, (_, i) => followers.get(`n${i}`));
    await expect(followers.get("one more")).rejects.toThrow("too many names wait for the catalog");
    answer("n0", "1");
    const next = followers.get("one more");
    answer("one more", "1");
    expect(await next).toBe(1);
    followers.close();
    await Promise.allSettled(waiting.map(async (w) => w));
  });
});
