/** Prometheus metrics on a registry of the daemon's own, and the routes that every daemon has for its operators. */
import type { RequestHandler } from "express";
import { collectDefaultMetrics, Registry } from "prom-client";
import { sendJson } from "./http.ts";
import { foldHealth, type Health } from "./lifecycle.ts";

/** A registry with the process's own metrics, under `heddle_`. */
export function createRegistry(daemon: string): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ daemon });
  return registry;
}

/** Adds the process's own metrics (memory, event loop, descriptors) once somebody scrapes: they cost start time. */
function withProcessMetrics(registry: Registry): Registry {
  if (!registry.getSingleMetric("process_cpu_user_seconds_total")) collectDefaultMetrics({ register: registry });
  return registry;
}

export interface OpsDeps {
  registry: Registry;
  /** In a composition: the other daemons' registries, told after the first. */
  others?: readonly Registry[];
  health: () => Record<string, Health>;
}

/** `/metrics`, `/healthz` (503 when a part is dead) and `/readyz` (503 with the parts that are not ready). */
export const opsRoutes = ({ registry, others = [], health }: OpsDeps): RequestHandler =>
  async function ops(req, res, next) {
    if (req.method !== "GET") return next();
    switch (req.path) {
      case "/metrics": {
        const texts = await Promise.all([withProcessMetrics(registry), ...others].map((r) => r.metrics()));
        const text = texts.join("\n");
        res.setHeader("Content-Type", registry.contentType);
        res.setHeader("Content-Length", Buffer.byteLength(text));
        res.end(text);
        return;
      }
      case "/healthz":
        return sendJson(res, foldHealth(health()).live ? 200 : 503, health());
      case "/readyz":
        return sendJson(res, foldHealth(health()).ready ? 200 : 503, health());
      default:
        next();
    }
  };
