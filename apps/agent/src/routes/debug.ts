/** /v1/agent/debug: Node's profiles in the place of Go's under /debug/pprof, for those whom `enable_debug` lets in. */
import { type ApiRequest, type ApiTable, refusal, reply } from "@heddle/daemon";
import type { AgentDeps } from "../deps.ts";

const MAX_SECONDS = 300;
const DEFAULT_SECONDS = 30; // pprof's

export function debugTable({ config }: AgentDeps): ApiTable {
  const running = new Set<"cpuProfile" | "heapProfile">();
  return {
    "/v1/agent/debug/profile": { GET: (request) => profile(request, "cpuProfile") },
    "/v1/agent/debug/heap": { GET: (request) => profile(request, "heapProfile") },
    "/v1/agent/debug/runtime": {
      GET: async (request) => {
        refuseUnlessEnabled();
        reply(request, (await import("../profiles.ts")).runtimeFigures());
      },
    },
  };

  async function profile(request: ApiRequest, kind: "cpuProfile" | "heapProfile"): Promise<void> {
    refuseUnlessEnabled();
    const text = request.query.get("seconds") ?? String(DEFAULT_SECONDS);
    const seconds = Number(text);
    if (!/^\d+$/.test(text) || seconds < 1 || seconds > MAX_SECONDS)
      throw refusal(400, `Bad request: seconds: invalid value '${text}': want a whole number from 1 to ${MAX_SECONDS}`);
    if (running.has(kind)) throw refusal(429, "such a profile is being taken already: one at a time");
    const gone = new AbortController();
    request.res.once("close", () => gone.abort());
    running.add(kind);
    try {
      const profiles = await import("../profiles.ts");
      const taken = await profiles[kind](seconds * 1000, gone.signal);
      if (!gone.signal.aborted) reply(request, taken);
    } finally {
      running.delete(kind);
    }
  }

  function refuseUnlessEnabled(): void {
    if (!config.enableDebug)
      throw refusal(401, "profiles are off: set enable_debug = true in the agent's configuration");
  }
}
