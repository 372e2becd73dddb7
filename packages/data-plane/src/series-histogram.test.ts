import * as fc from "fast-check";
import { AggregatorRegistry, Histogram, Registry } from "prom-client";
import { expect, test } from "vitest";
import { SeriesHistogram } from "./series-histogram.ts";

const options = {
  name: "h_seconds",
  help: "Some time.",
  labelNames: ["direction", "to"],
  buckets: [0.001, 0.1, 1, 10],
};
const labels: Record<string, string>[] = [
  { direction: "in", to: "a" },
  { direction: "out", to: 'b"\n' },
];

test("it tells what prom-client's own would, as text and to who adds threads up", async () => {
  const value = fc.oneof(fc.constantFrom(...options.buckets), fc.double({ min: 0, max: 20, noNaN: true }));
  const observed = fc.array(fc.tuple(fc.nat(1), value), { minLength: 1, maxLength: 50 });
  await fc.assert(
    fc.asyncProperty(observed, async (values) => {
      const [ours, theirs] = [new Registry(), new Registry()];
      const own = new SeriesHistogram({ ...options, registry: ours });
      const other = new Histogram({ ...options, registers: [theirs] });
      const series = [...new Set(values.map(([which]) => which))].map((which) => [
        which,
        own.series(labels[which] ?? {}),
      ]);
      const of = new Map(series as [number, ReturnType<typeof own.series>][]);
      for (const [which, seconds] of values) {
        of.get(which)?.observe(seconds);
        other.observe(labels[which] ?? {}, seconds);
      }
      expect(await ours.metrics()).toBe(await theirs.metrics());
      const [a, b] = await Promise.all(
        [ours, theirs].map(async (r) =>
          AggregatorRegistry.aggregate([await r.getMetricsAsJSON(), await r.getMetricsAsJSON()]).metrics(),
        ),
      );
      expect(a).toBe(b);
    }),
    { numRuns: 50 },
  );
});
