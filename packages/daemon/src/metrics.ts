/** Prometheus metrics on a registry of the daemon's own, and the routes that every daemon has for its operators. */
import { Router } from "express";
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
  health: () => Record<string, Health>;
}

/** `/metrics`, `/healthz` (503 when a part is dead) and `/readyz` (503 with the parts that are not ready). */
export const opsRoutes = ({ registry, health }: OpsDeps): Router =>
  Router()
    .get("/metrics", async (_req, res) => {
      res.type(registry.contentType).send(await withProcessMetrics(registry).metrics());
    })
    .get("/healthz", (_req, res) => {
      const parts = health();
      sendJson(res, foldHealth(parts).live ? 200 : 503, parts);
    })
    .get("/readyz", (_req, res) => {
      const parts = health();
      sendJson(res, foldHealth(parts).ready ? 200 : 503, parts);
    });
