/** What every kind of check is: a function from its definition to one result. It never rejects and ends by itself. */
import type { Clock } from "@heddle/daemon";
import type { CheckStatus } from "@heddle/service-definition";
import type { Check } from "../check.ts";
import type { PipeSupply } from "../pipes.ts";
import type { ScriptUsers } from "../script-user.ts";
import type { SecureContext } from "node:tls";

export interface ProbeResult {
  status: CheckStatus;
  output: string;
}

export interface ProbeContext {
  clock: Clock;
  /** Aborts when the check is removed or the checker closes: stop, the result is not wanted. */
  signal: AbortSignal;
  /** Most bytes of a body or of a program's output that are kept. */
  outputMaxBytes: number;
  /** The whole environment that scripts get. */
  scriptEnv: Record<string, string>;
  /** Whom they run as; undefined: the checker's own user. */
  scriptUsers: ScriptUsers;
  /** Where scripts write their output. */
  pipes: PipeSupply;
  /** True: HTTP checks may go to link-local addresses, where clouds keep their credentials. */
  allowLinkLocal: boolean;
  /** True: they follow redirects to other hosts than the one that they name. */
  redirectsElsewhere: boolean;
  /** DOCKER_HOST. */
  dockerHost: string;
  /** Roots beside the runtime's own; undefined: the runtime's own alone. */
  roots: () => SecureContext | undefined;
}

export type Probe = (check: Check, context: ProbeContext) => Promise<ProbeResult>;

export const DEFAULT_TIMEOUT_MS = 10_000; // Consul's for every kind but scripts

export const passing = (output: string): ProbeResult => ({ status: "passing", output });
export const warning = (output: string): ProbeResult => ({ status: "warning", output });
export const critical = (output: string): ProbeResult => ({ status: "critical", output });

/** An error whose message is the whole output of a check, in Consul's words. */
export class ProbeError extends Error {
  override readonly name = "ProbeError";
}

/** The timeout of a check that gives none is 10 s. */
export const timeoutOf = (check: Check): number =>
  check.TimeoutMs && check.TimeoutMs > 0 ? check.TimeoutMs : DEFAULT_TIMEOUT_MS;
