import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

// Unit tests stand beside their sources, a daemon's own in its test folder, those of several daemons in test-e2e.
export default defineConfig({
  test: {
    include: [
      "packages/*/src/**/*.test.ts",
      "apps/*/src/**/*.test.ts",
      "apps/*/test/**/*.test.ts",
      "test-e2e/**/*.test.ts",
    ],
    // Most of what takes long waits for other processes; by default there would be a worker for each processor but one.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // A bound for what hangs, on a machine that has other work; no test's subject.
    expect: { poll: { timeout: 15_000 } },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    coverage: {
      provider: "v8",
      include: ["packages/*/src/**/*.ts", "apps/*/src/**/*.ts"],
      exclude: ["**/*.test.ts"],
      reporter: ["text-summary", "json-summary"],
    },
  },
});
