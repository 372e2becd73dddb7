/** Services as somebody registers them: decoding, defaults, Consul's rules, and the checks that come with them. */
import { refusal } from "@heddle/daemon";
import type { Path } from "@heddle/hcl";
import { reportCheck, validateCheck } from "./check.ts";
import { toNodeService } from "./convert.ts";
import { type RawService, toServiceDefinition } from "./definition.ts";
import { serviceField } from "./fields.ts";
import { multiError, type ParseOptions, parseWith, type Reader } from "./reader.ts";
import { expandSidecar } from "./sidecar.ts";
import type { ServiceDefinition } from "./types.ts";
import { isAnyAddress, validateMeta, validateName, validateNodeService, validateWeights } from "./validate.ts";

const KINDS = ["", "connect-proxy", "mesh-gateway", "terminating-gateway", "ingress-gateway", "api-gateway"];

/** Parses the body of `/v1/agent/service/register` (source "api", the default) or a `service` block of a file. */
export function parseServiceDefinition(input: unknown, options: ParseOptions = {}): ServiceDefinition {
  return parseWith(options, (reader) => readService(input, [], reader));
}

export function readService(input: unknown, path: Path, reader: Reader): ServiceDefinition {
  const raw = reader.decode(serviceField, input, path) ?? {};
  const service = toServiceDefinition(raw, reader.source);
  // A rule on top of a value that could not be read would only confuse.
  if (!reader.hasFailed) validateService(service, raw, path, reader);
  return service;
}

function validateService(service: ServiceDefinition, raw: RawService, path: Path, reader: Reader): void {
  const fail = (key: string, message: string | undefined, prefix = "") => {
    if (message !== undefined) reader.fail([...path, key], prefix + message);
  };
  if (service.Name === "") fail("name", "Missing service name");
  fail("name", validateName("service name", service.Name));
  fail("id", validateName("service ID", service.ID));
  if (reader.source === "file" && !KINDS.includes(service.Kind))
    fail("kind", `invalid value ${JSON.stringify(service.Kind)}: want one of ${KINDS.slice(1).join(", ")}`);
  for (const key of ["Namespace", "Partition"] as const)
    if (raw[key] && raw[key] !== "default")
      fail(key.toLowerCase(), `Invalid ${key} '${raw[key]}': there is only 'default'`);
  if (isAnyAddress(service.Address)) fail("address", "Invalid service address");
  fail("weights", validateWeights(service.Weights), "Invalid Weights: ");
  fail("meta", validateMeta(service.Meta, service.Kind), "Invalid Service Meta: ");
  const problems = [...validateNodeService(toNodeService(service)), ...validateConnect(service, raw)];
  if (problems.length > 0 && reader.source === "api") reader.fail(path, multiError(problems));
  else for (const problem of problems) reader.fail(path, problem);
  if (problems.length > 0) return;
  const first = service.Checks.length - (raw.Checks?.length ?? 0);
  service.Checks.forEach((check, i) =>
    reportCheck(check, [...path, ...(i < first ? ["check"] : ["checks", i - first])], reader),
  );
  validateSidecar(service, [...path, "connect", "sidecar_service"], reader);
}

function validateConnect(service: ServiceDefinition, raw: RawService): string[] {
  const problems: string[] = [];
  const sidecar = raw.Connect?.SidecarService as RawService | undefined;
  if (sidecar && service.Kind.endsWith("-gateway"))
    problems.push(`A ${service.Kind} cannot have a sidecar service defined`);
  if (sidecar?.ID) problems.push("A SidecarService cannot specify an ID as this is managed by the agent");
  if (sidecar?.Connect?.SidecarService) problems.push("A SidecarService cannot have a nested SidecarService");
  return problems;
}

/** The sidecar is checked with the service, before it has its port, so that both are refused or neither. */
function validateSidecar(service: ServiceDefinition, path: Path, reader: Reader): void {
  const sidecar = expandSidecar(service, () => 1);
  if (!sidecar) return;
  const meta = validateMeta(sidecar.Meta, sidecar.Kind);
  if (meta !== undefined) reader.fail([...path, "meta"], `Invalid SidecarService: ${meta}`);
  const weights = validateWeights(sidecar.Weights);
  if (weights !== undefined) reader.fail([...path, "weights"], `Invalid Weights: ${weights}`);
  const problems = validateNodeService(toNodeService(sidecar));
  if (problems.length > 0 && reader.source === "api") reader.fail(path, `Failed Validation: ${multiError(problems)}`);
  else for (const problem of problems) reader.fail(path, problem);
  for (const check of sidecar.Checks) {
    const problem = reader.source === "api" && !reader.hasFailed ? validateCheck(check) : undefined;
    // Consul finds this one late, and answers as if it were its own fault.
    if (problem !== undefined) throw refusal(500, `Bad request: Invalid check in sidecar_service: ${problem}`);
    reportCheck(check, path, reader);
  }
}
