/** Which changes a running agent takes up by itself, and which need a restart. */
import { isDeepStrictEqual } from "node:util";
import type { AgentConfig } from "./types.ts";

/** What a reload applies. */
const RELOADABLE = new Set<string>([
  "acl.tokens",
  "checks",
  "discardCheckOutput",
  "dns",
  "http.responseHeaders",
  "limits.httpMaxConnsPerClient",
  "limits.httpMaxRequestsPerClient",
  "log.level",
  "nodeMeta",
  "recursors",
  "services",
  "telemetry.prefixFilter",
  "tls.https.caFile",
  "tls.https.certFile",
  "tls.https.keyFile",
  "warnings",
  "watches",
]);

/** The names in the file, where they are not the field's own in snake_case. */
const NAMES: Record<string, string> = {
  clientAddrs: "client_addr",
  configEntriesBootstrap: "config_entries.bootstrap",
  devMode: "-dev",
  http: "http_config",
  internal: "heddle",
  leaveDrainTimeMs: "performance.leave_drain_time",
  "log.file": "log_file",
  followRedirectsElsewhere: "heddle.follow_redirects_elsewhere",
  scriptUser: "heddle.script_user",
  scripts: "enable_script_checks",
  store: "heddle.store",
  "metrics.host": "heddle.metrics_host",
  "metrics.port": "heddle.metrics_port",
  "log.json": "log_json",
  "log.rotateBytes": "log_rotate_bytes",
  "log.rotateMaxFiles": "log_rotate_max_files",
  "log.rotateMs": "log_rotate_duration",
  "ports.exposeMax": "ports.expose_max_port",
  "ports.exposeMin": "ports.expose_min_port",
  "ports.sidecarMax": "ports.sidecar_max_port",
  "ports.sidecarMin": "ports.sidecar_min_port",
};

/** Blocks whose members are told one by one. */
const BLOCKS = new Set([
  "acl",
  "addresses",
  "connect",
  "http",
  "internal",
  "limits",
  "log",
  "metrics",
  "ports",
  "telemetry",
  "tls",
  "tls.https",
  "uiConfig",
]);

/** The keys, by their names in the file, that changed and take effect only with a restart. */
export function changedWithoutReload(before: AgentConfig, after: AgentConfig): string[] {
  return changed("", before, after);
}

function changed(prefix: string, before: object, after: object): string[] {
  return Object.entries(after).flatMap(([name, value]: [string, unknown]) => {
    const path = prefix + name;
    const old = (before as Record<string, unknown>)[name];
    if (RELOADABLE.has(path) || isDeepStrictEqual(old, value)) return [];
    if (BLOCKS.has(path)) return changed(`${path}.`, old as object, value as object);
    return [fileName(path)];
  });
}

function fileName(path: string): string {
  const exact = NAMES[path];
  if (exact) return exact;
  return path
    .split(".")
    .map(
      (part, i) =>
        (i === 0 ? NAMES[part] : undefined) ?? part.replace(/Ms$/, "").replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`),
    )
    .join(".");
}
