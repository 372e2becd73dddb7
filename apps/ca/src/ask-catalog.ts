/** A CA alone asks the catalog what runs on a node; what it has said a while ago holds while it is away. */
import type { ApiClient } from "@heddle/api-client";
import { type Clock, UnavailableError } from "@heddle/daemon";
import type { RunsOn } from "./routes/sign.ts";

const REMEMBER_MS = 72 * 3_600_000; // a leaf's life: renewals do not wait for a catalog that is away
const MAX_KNOWN = 100_000;
const TIMEOUT_MS = 5_000;

/** Throws UnavailableError where the catalog is away and has not said it before. */
export function askCatalog({ catalog, clock }: { catalog: ApiClient; clock: Clock }): RunsOn {
  const known = new Map<string, number>();
  return async (node, service) => {
    const key = `${node}\0${service}`;
    try {
      const path = `/v1/internal/runs-on/${encodeURIComponent(node)}`;
      const { body } = await catalog.get(path, { query: { service }, timeoutMs: TIMEOUT_MS });
      known.delete(key);
      if (body === true) known.set(key, clock.now());
      if (known.size > MAX_KNOWN) known.delete(known.keys().next().value as string);
      return body === true;
    } catch (cause) {
      if (clock.now() - (known.get(key) ?? -Infinity) < REMEMBER_MS) return true;
      throw new UnavailableError(`cannot ask the catalog whether '${service}' runs on node '${node}'`, { cause });
    }
  };
}
