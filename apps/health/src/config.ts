/** The health checker's configuration: flags, `HEDDLE_HEALTH_…` variables, a JSON file. */
import { type ConfigSources, loadOptions, opsOptions, option } from "@heddle/daemon";
import {
  DEFAULT_MAX_CHECKS,
  DEFAULT_MAX_CONCURRENT,
  DEFAULT_MAX_CONCURRENT_PROGRAMS,
  DEFAULT_MIN_INTERVAL_MS,
} from "./checker.ts";
import { DEFAULT_OUTPUT_MAX_BYTES } from "./output.ts";

export const DEFAULT_HEALTH_PORT = 8320;

export const HEALTH_OPTIONS = {
  host: option.string("Address to listen on; anything but loopback needs the TLS files.", "127.0.0.1"),
  port: option.port("Port to listen on; 0 picks a free one.", DEFAULT_HEALTH_PORT),
  enableScriptChecks: option.boolean("Run script and Docker checks that agents bring."),
  scriptEnv: option.list("Environment variable that scripts get beside PATH and its like; may be given several times."),
  scriptUser: option.string(
    "User that scripts run as: a name, a uid or uid:gid; needs root. By default the checker's own.",
  ),
  maxChecks: option.integer("Most checks of all agents together.", 1, 1_000_000, DEFAULT_MAX_CHECKS),
  maxConcurrent: option.integer("Most probes at once.", 1, 100_000, DEFAULT_MAX_CONCURRENT),
  maxConcurrentPrograms: option.integer(
    "Most script and Docker checks at once.",
    1,
    10_000,
    DEFAULT_MAX_CONCURRENT_PROGRAMS,
  ),
  minInterval: option.durationMs(
    "Shortest interval of a check; a shorter one is raised to it.",
    DEFAULT_MIN_INTERVAL_MS,
  ),
  checkOutputMaxSize: option.integer(
    "Most bytes of output that a check keeps.",
    1,
    1024 * 1024,
    DEFAULT_OUTPUT_MAX_BYTES,
  ),
  checkCaFile: option.string("CA certificates (PEM) that targets of TLS checks may have, beside the well-known ones."),
  allowLinkLocal: option.boolean("Let HTTP checks go to link-local addresses, where clouds keep credentials."),
  followRedirectsElsewhere: option.boolean("Let HTTP checks follow redirects to other hosts than the one they name."),
  noFlapDamping: option.boolean("Tell each change of a check, however often it comes and goes."),
  dockerHost: { ...option.string("Docker engine's API.", "unix:///var/run/docker.sock"), env: ["DOCKER_HOST"] },
  external: option.boolean(
    "Probe nodes without an agent (external-node in their metadata), shared with others that do.",
  ),
  externalId: option.string("What this checker is called among those; by default host name and process id."),
  catalogUrl: option.string("URL of the catalog that names those nodes; several with commas.", "http://127.0.0.1:8300"),
  caUrl: option.urls("The CA, or several, with TLS: callers whose certificate it has revoked are refused.", ""),
  ...opsOptions,
  logLevel: option.logLevel(),
  logJson: option.boolean("Log JSON lines."),
  caFile: option.string("CA certificates of the internal API (PEM)."),
  certFile: option.string("This daemon's certificate (PEM), of role health."),
  keyFile: option.string("Its key (PEM)."),
};

export type HealthConfig = ReturnType<typeof loadConfig>;

/** Throws ConfigError listing every problem. */
export const loadConfig = (sources: ConfigSources) => {
  const options = loadOptions("health", HEALTH_OPTIONS, sources);
  // What scripts inherit is taken from here too: nothing else reads the environment.
  return Object.freeze({ ...options, env: Object.freeze({ ...sources.env }) });
};
