/** Health checks as somebody defines them: decoding, defaults, Consul's rules of which keys go together. */
import type { Path, Value } from "@heddle/hcl";
import { dropEmpty } from "./empty.ts";
import { CHECK_STATUSES, checkField } from "./fields.ts";
import { type ParseOptions, parseWith, type Reader } from "./reader.ts";
import type { CheckDefinition, CheckStatus, CheckType } from "./types.ts";

/** Consul raises shorter intervals to this, so that a typing error cannot hammer a service. */
export const MIN_INTERVAL_MS = 1_000;
/** Consul raises shorter times to this: its reaper runs every 30 s. */
export const MIN_DEREGISTER_MS = 60_000;

type RawCheck = Value<typeof checkField>;

/** Parses the body of `/v1/agent/check/register` (source "api", the default) or a `check` block of a file. */
export function parseCheckDefinition(input: unknown, options: ParseOptions = {}): CheckDefinition {
  return parseWith(options, (reader) => readCheck(input, [], reader));
}

/** Reads a check that stands alone: its id is its name unless given. The API wants a name in any case, a file where there is no id. */
export function readCheck(input: unknown, path: Path, reader: Reader): CheckDefinition {
  const raw = reader.decode(checkField, input, path) ?? {};
  const check = toCheckDefinition(raw, { id: raw.Name ?? "", name: "", serviceId: raw.ServiceID ?? "" });
  if (reader.hasFailed) return check;
  if (check.Name === "" && (reader.source === "api" || check.CheckID === ""))
    reader.fail([...path, "name"], "Missing check name");
  else reportCheck(check, path, reader, false);
  return check;
}

/** Consul's rules for one check; the first broken one is reported. */
export function reportCheck(check: CheckDefinition, path: Path, reader: Reader, isOfService = true): void {
  if (check.Status !== undefined && !CHECK_STATUSES.includes(check.Status)) {
    const inConsul = isOfService ? "Status for checks must 'passing', 'warning', 'critical'" : "Bad check status";
    const inFile = `invalid value ${JSON.stringify(check.Status)}: want one of ${CHECK_STATUSES.join(", ")}`;
    reader.fail([...path, "status"], reader.source === "api" ? inConsul : inFile);
    return;
  }
  const problem = validateCheck(check);
  if (problem !== undefined) reader.fail(path, `Invalid check: ${problem}`);
}

/** Which rule the check breaks, in Consul's words; undefined: none. */
export function validateCheck(check: CheckDefinition): string | undefined {
  const intervalMs = check.IntervalMs ?? 0;
  const ttlMs = check.TTLMs ?? 0;
  const isAlias = Boolean(check.AliasNode || check.AliasService);
  const isProbe = Boolean(
    check.Args?.length || check.HTTP || check.TCP || check.UDP || check.GRPC || check.H2PING || check.OSService,
  );
  if (intervalMs > 0 && ttlMs > 0) return "Interval and TTL cannot both be specified";
  if (isProbe && intervalMs <= 0) return "Interval must be > 0 for Script, HTTP, or TCP checks";
  if (isProbe && isAlias) return "Interval cannot be set for Alias checks";
  if (isAlias && ttlMs > 0) return "TTL must be not be set for Alias checks";
  if (check.ScriptUser && checkType(check) !== "script") return "ScriptUser goes with Args alone";
  if (!isProbe && !isAlias && ttlMs <= 0) return "TTL must be > 0 for TTL checks";
  if ((check.OutputMaxSize ?? 0) < 0) return "MaxOutputMaxSize must be positive";
  if ((check.FailuresBeforeWarning ?? 0) > (check.FailuresBeforeCritical ?? 0))
    return "FailuresBeforeWarning can't be higher than FailuresBeforeCritical";
  return undefined;
}

/** What runs the check. Empty where the definition says nothing that could run. */
export function checkType(check: CheckDefinition): CheckType {
  const hasInterval = (check.IntervalMs ?? 0) > 0;
  if (check.GRPC && hasInterval) return "grpc";
  if (check.HTTP && hasInterval) return "http";
  if ((check.TTLMs ?? 0) > 0) return "ttl";
  if (check.TCP && hasInterval) return "tcp";
  if (check.UDP && hasInterval) return "udp";
  if (check.AliasNode || check.AliasService) return "alias";
  if (check.Args?.length) return check.DockerContainerID && hasInterval ? "docker" : "script";
  if (check.H2PING && hasInterval) return "h2ping";
  if (check.OSService && hasInterval) return "os_service";
  return "";
}

/** True where no key has a value: Consul drops such a check from a service. */
export function isEmptyCheck(raw: RawCheck): boolean {
  return Object.values(raw).every((value) => !value || (typeof value === "object" && Object.keys(value).length === 0));
}

export function toCheckDefinition(
  raw: RawCheck,
  defaults: { id: string; name: string; serviceId: string },
): CheckDefinition {
  const { ID, Name, Notes, Status, Interval, Timeout, TTL, DeregisterCriticalServiceAfter, ...same } = raw;
  delete same.Namespace;
  delete same.Partition;
  const check: CheckDefinition = {
    ...dropEmpty(same),
    CheckID: ID || defaults.id,
    Name: Name || defaults.name,
    Notes: Notes ?? "",
    ServiceID: defaults.serviceId,
  };
  if (Status) check.Status = Status as CheckStatus;
  if (Interval) check.IntervalMs = Math.max(Interval, Interval > 0 ? MIN_INTERVAL_MS : Interval);
  if (Timeout && Timeout > 0) check.TimeoutMs = Timeout;
  if (TTL) check.TTLMs = TTL;
  if (DeregisterCriticalServiceAfter)
    check.DeregisterCriticalServiceAfterMs = Math.max(DeregisterCriticalServiceAfter, MIN_DEREGISTER_MS);
  // A count below zero is none, as in Consul.
  for (const key of ["SuccessBeforePassing", "FailuresBeforeWarning", "FailuresBeforeCritical"] as const)
    if ((check[key] ?? 0) < 0) delete check[key];
  // HTTP/2 pings use TLS unless told otherwise.
  if (check.H2PING) check.H2PingUseTLS = raw.H2PingUseTLS ?? true;
  return check;
}
