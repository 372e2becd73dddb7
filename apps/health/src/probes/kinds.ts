/**
 * The kinds of checks, in the order in which a definition is matched to one. A new kind is a file that exports `probe` and a
 * line here; its file is loaded when the first check of the kind runs.
 */
import type { Check } from "../check.ts";
import type { Probe } from "./probe.ts";

export interface Kind {
  /** Consul's name of the type; the label of the metrics. */
  name: string;
  matches(check: Check): boolean;
  load(): Promise<{ probe: Probe }>;
  /** True where it runs somebody's program: only where scripts are enabled, and bounded by their own number. */
  runsPrograms?: boolean;
}

const KINDS: readonly Kind[] = [
  { name: "http", matches: (c) => given(c.HTTP), load: () => import("./http.ts") },
  { name: "tcp", matches: (c) => given(c.TCP), load: () => import("./tcp.ts") },
  { name: "udp", matches: (c) => given(c.UDP), load: () => import("./udp.ts") },
  { name: "grpc", matches: (c) => given(c.GRPC), load: () => import("./grpc.ts") },
  { name: "h2ping", matches: (c) => given(c.H2PING), load: () => import("./h2ping.ts") },
  { name: "docker", matches: (c) => given(c.DockerContainerID), load: () => import("./docker.ts"), runsPrograms: true },
  { name: "script", matches: (c) => (c.Args?.length ?? 0) > 0, load: () => import("./script.ts"), runsPrograms: true },
  { name: "reach", matches: (c) => given(c.Reach), load: () => import("./reach.ts") },
  { name: "os_service", matches: (c) => given(c.OSService), load: () => import("./os-service.ts") },
];

/** The kind of a definition; undefined for what the checker does not run (TTL and alias checks are the agent's). */
export const kindOf = (check: Check): Kind | undefined => KINDS.find((kind) => kind.matches(check));

const given = (text: string | undefined): boolean => text !== undefined && text !== "";
