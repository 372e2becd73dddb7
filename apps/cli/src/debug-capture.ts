/** What `heddle debug` asks an agent for, and the files that it becomes. A part that fails is told and left out. */
import { createWriteStream, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import type { ApiClient, Query } from "@heddle/api-client";
import { formatJson, parseExact } from "./output.ts";

const ANSWER_SLACK_MS = 15_000; // beyond the time that a profile takes
const MAX_LOG_BYTES = 256 * 1024 * 1024; // of one interval: an agent at its busiest stays below

export interface CaptureOptions {
  api: ApiClient;
  targets: ReadonlySet<string>;
  /** Whose profiles the agent has. */
  profiles: "node" | "pprof";
  warn: (what: string, error: unknown) => void;
}

interface Profile {
  file: string;
  path: string;
  takesTime: boolean;
}

const PROFILES: Record<CaptureOptions["profiles"], Profile[]> = {
  node: [
    { file: "profile.cpuprofile", path: "/v1/agent/debug/profile", takesTime: true },
    { file: "heap.heapprofile", path: "/v1/agent/debug/heap", takesTime: true },
    { file: "runtime.json", path: "/v1/agent/debug/runtime", takesTime: false },
  ],
  pprof: [
    { file: "profile.prof", path: "/debug/pprof/profile", takesTime: true },
    { file: "trace.out", path: "/debug/pprof/trace", takesTime: true },
    { file: "heap.prof", path: "/debug/pprof/heap", takesTime: false },
    { file: "goroutine.prof", path: "/debug/pprof/goroutine", takesTime: false },
  ],
};

export interface Capture {
  /** What does not change meanwhile. */
  still(folder: string): Promise<void>;
  /** What does: for `ms`, or until `signal` aborts. */
  interval(folder: string, ms: number, signal: AbortSignal): Promise<void>;
}

export function createCapture({ api, targets, profiles, warn }: CaptureOptions): Capture {
  const attempt = async (what: string, action: () => Promise<void>, signal?: AbortSignal) => {
    if (!targets.has(what)) return;
    await action().catch((error: unknown) => signal?.aborted || warn(`Capture of ${what} failed`, error));
  };
  const saveJson = async (path: string, file: string, query: Query = {}) => {
    const { raw } = await api.get(path, { query });
    save(file, formatJson(parseExact(raw.toString("utf8")), "\t"));
  };

  return {
    async still(folder) {
      await attempt("host", () => saveJson("/v1/agent/host", join(folder, "host.json")));
      await attempt("agent", () => saveJson("/v1/agent/self", join(folder, "agent.json")));
      await attempt("cluster", () => saveJson("/v1/agent/members", join(folder, "cluster.json"), { wan: "1" }));
    },
    async interval(folder, ms, signal) {
      const seconds = Math.max(1, Math.floor(ms / 1000));
      await Promise.all([
        attempt("metrics", () => saveJson("/v1/agent/metrics", join(folder, "metrics.json"))),
        attempt("logs", () => saveLog(join(folder, "consul.log"), ms, signal), signal),
        ...PROFILES[profiles].map(({ file, path, takesTime }) =>
          attempt(
            "pprof",
            async () => {
              const query = takesTime ? { seconds } : {};
              const timeoutMs = seconds * 1000 + ANSWER_SLACK_MS;
              const { raw } = await api.get(path, { query, timeoutMs, signal });
              save(join(folder, file), raw);
            },
            signal,
          ),
        ),
      ]);
    },
  };

  async function saveLog(file: string, ms: number, signal: AbortSignal): Promise<void> {
    const until = AbortSignal.any([signal, AbortSignal.timeout(ms)]);
    const log = await api.stream("GET", "/v1/agent/monitor", {
      query: { loglevel: "DEBUG" },
      signal: until,
      timeoutMs: ms + ANSWER_SLACK_MS,
    });
    let size = 0;
    log.on("data", (chunk: Buffer) => (size += chunk.length) > MAX_LOG_BYTES && log.destroy());
    await pipeline(log, createWriteStream(file, { mode: 0o600 })).catch((error: unknown) => {
      if (!until.aborted && size <= MAX_LOG_BYTES) throw error;
    });
  }
}

function save(file: string, data: string | Buffer): void {
  writeFileSync(file, data, { mode: 0o600 });
}
