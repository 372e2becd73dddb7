/** Reads docker-compose.yml: what the emulation knows how to honour, and an error for everything else. */
import { readFileSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { parse } from "yaml";

export type Condition = "service_completed_successfully" | "service_healthy" | "service_started";

export interface Mount {
  /** A named volume, or a path of the host. */
  source: string;
  isVolume: boolean;
  target: string;
  isReadOnly: boolean;
}

export interface ServiceSpec {
  name: string;
  image: string;
  isBuilt: boolean;
  /** Undefined: the image's. */
  entrypoint?: string[];
  command?: string[];
  user?: string;
  environment: Record<string, string>;
  mounts: Mount[];
  /** Whose network namespace it is in: its own name, another service's, or "none". */
  network: string;
  dependsOn: Record<string, Condition>;
  /** Undefined: the image's. Empty: none. */
  healthcheck?: string[];
  isReadOnly: boolean;
  capAdd: string[];
}

const KNOWN = new Set([
  "build",
  "cap_add",
  "cap_drop",
  "command",
  "depends_on",
  "entrypoint",
  "environment",
  "healthcheck",
  "image",
  "init",
  "network_mode",
  "networks",
  "ports",
  "read_only",
  "restart",
  "security_opt",
  "user",
  "volumes",
]);

interface RawService {
  image: string;
  build?: string;
  entrypoint?: string[];
  command?: string[];
  user?: string;
  environment?: Record<string, string>;
  volumes?: string[];
  network_mode?: string;
  depends_on?: Record<string, { condition: Condition }>;
  healthcheck?: { disable?: boolean; test?: string[] };
  read_only?: boolean;
  cap_add?: string[];
  cap_drop?: string[];
  security_opt?: string[];
}

export function readCompose(file: string): Map<string, ServiceSpec> {
  const root = parse(readFileSync(file, "utf8"), { merge: true }) as {
    services: Record<string, RawService>;
    volumes: Record<string, object>;
  };
  const services = Object.entries(root.services).map(([name, raw]) => toSpec(name, raw, dirname(file), root.volumes));
  const byName = new Map(services.map((s) => [s.name, s]));
  for (const { name, network, dependsOn } of services)
    for (const other of [...Object.keys(dependsOn), ...(network === "none" ? [] : [network])])
      if (!byName.has(other)) throw new Error(`${file}: service '${name}' refers to '${other}', which does not exist`);
  return byName;
}

function toSpec(name: string, raw: RawService, folder: string, volumes: Record<string, object>): ServiceSpec {
  for (const key of Object.keys(raw))
    if (!KNOWN.has(key)) throw new Error(`service '${name}': the emulation does not know '${key}'`);
  if (raw.cap_drop?.join() !== "ALL" || !raw.security_opt?.includes("no-new-privileges:true"))
    throw new Error(`service '${name}': want cap_drop: [ALL] and no-new-privileges`);
  const test = raw.healthcheck?.disable ? [] : raw.healthcheck?.test;
  if (test?.length && test[0] !== "CMD")
    throw new Error(`service '${name}': want a healthcheck of the form ["CMD", …]`);
  const mode = raw.network_mode ?? `service:${name}`;
  return {
    name,
    image: raw.image,
    isBuilt: raw.build !== undefined,
    entrypoint: raw.entrypoint,
    command: raw.command,
    user: raw.user,
    environment: raw.environment ?? {},
    mounts: (raw.volumes ?? []).map((text) => toMount(text, folder, volumes)),
    network: mode === "none" ? "none" : mode.slice(mode.indexOf(":") + 1),
    dependsOn: Object.fromEntries(Object.entries(raw.depends_on ?? {}).map(([k, v]) => [k, v.condition])),
    healthcheck: test?.slice(1),
    isReadOnly: raw.read_only ?? false,
    capAdd: raw.cap_add ?? [],
  };
}

function toMount(text: string, folder: string, volumes: Record<string, object>): Mount {
  const [source = "", target = "", mode] = text.split(":");
  const isVolume = !source.startsWith(".") && !isAbsolute(source);
  if (isVolume && !Object.hasOwn(volumes, source)) throw new Error(`volume '${source}' is not declared`);
  return { source: isVolume ? source : join(folder, source), isVolume, target, isReadOnly: mode === "ro" };
}
