import { RateLimitedError } from "@heddle/daemon";
import { ManualClock } from "@heddle/daemon/testing";
import { expect, it } from "vitest";
import { createConcurrencyLimit } from "./concurrency-limit.ts";

const LIMIT = 2;

function start() {
  const clock = new ManualClock(0);
  const limit = createConcurrencyLimit(clock);
  const ends: (() => void)[] = [];
  let [running, most] = [0, 0];
  const work = () => {
    most = Math.max(most, ++running);
    return new Promise<string>((resolve) =>
      ends.push(() => {
        running--;
        resolve("signed");
      }),
    );
  };
  return { clock, ends, run: () => limit.run(LIMIT, work), free: () => limit.run(0, work), most: () => most };
}

it("lets no more through at once, also where one comes in the moment that another ends", async () => {
  const moments = [0, 1, 2, 3, 4, 5];
  for (const moment of moments) {
    const { run, ends, most } = start();
    const comes = async () => {
      for (let i = 0; i < moment; i++) await Promise.resolve();
      return run();
    };
    const all = Array.from({ length: 2 * LIMIT }, run);
    for (let i = 0; i < 4 * LIMIT; i++) {
      await new Promise(setImmediate);
      ends.shift()?.();
      if (i < 2 * LIMIT) all.push(comes());
    }
    expect(await Promise.all(all)).toHaveLength(4 * LIMIT);
    expect(most(), `${moment} steps after an end`).toBe(LIMIT);
  }
});

it("refuses who has waited for half a second, and who comes after is served", async () => {
  const { run, ends, clock } = start();
  const [first, second, third] = [run(), run(), run()];
  clock.advance(500);
  await expect(third).rejects.toThrow(RateLimitedError);
  for (const end of ends.splice(0)) end();
  await Promise.all([first, second]);
  const next = run();
  ends.shift()?.();
  expect(await next).toBe("signed");
});

it("is none where it is 0", async () => {
  const { free, ends, most } = start();
  const all = Array.from({ length: 50 }, free);
  for (const end of ends.splice(0)) end();
  await Promise.all(all);
  expect(most()).toBe(50);
});
