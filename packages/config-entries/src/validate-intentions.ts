/** What the intentions of one destination must be, written as a config entry. */
import { InvalidArgumentError } from "@heddle/daemon";
import { checkMeta } from "./meta.ts";
import type { IntentionPermission, IntentionSource, ServiceIntentionsEntry } from "./types-mesh.ts";
import { checkHeader, checkPaths } from "./validate-http-match.ts";
import { checkJwt } from "./validate-jwt.ts";

const fail = (text: string): never => {
  throw new InvalidArgumentError(text);
};
const MAX_SOURCES = 10_000;
const MAX_DESCRIPTION = 512;
const METHODS = new Set(["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"]);

/** A source's type is "consul" where none is given; methods are in upper case. */
export function fillIntentions(entry: ServiceIntentionsEntry): ServiceIntentionsEntry {
  const sources = entry.Sources?.map((source) => {
    const permissions = source.Permissions?.map((permission) => {
      const methods = permission.HTTP?.Methods;
      return methods
        ? { ...permission, HTTP: { ...permission.HTTP, Methods: methods.map((m) => m.toUpperCase()) } }
        : permission;
    });
    return {
      ...source,
      Type: source.Type === "" ? "consul" : source.Type,
      ...(permissions && { Permissions: permissions }),
    };
  });
  return { ...entry, Sources: sources ?? entry.Sources };
}

export function checkIntentions(entry: ServiceIntentionsEntry): void {
  if (entry.Name === "") fail("Name is required");
  checkWildcard("Name", entry.Name);
  if (entry.JWT) checkJwt(entry.JWT, "JWT");
  const sources = entry.Sources ?? [];
  if (sources.length === 0) fail("At least one source is required");
  if (sources.length > MAX_SOURCES) fail(`Sources has ${sources.length} elements, at most ${MAX_SOURCES} are accepted`);
  const seen = new Set<string>();
  for (const [i, source] of sources.entries()) {
    checkSource(source, `Sources[${i}]`, entry.Name);
    const id = JSON.stringify([source.Name, source.Namespace ?? "default", source.Peer ?? ""]);
    if (seen.has(id)) fail(`Sources[${i}] defines ${JSON.stringify(source.Name)} more than once`);
    seen.add(id);
  }
}

function checkSource(source: IntentionSource, where: string, destination: string): void {
  if (source.Name === "") fail(`${where}.Name is required`);
  checkWildcard(`${where}.Name`, source.Name);
  const { Namespace = "", Peer = "" } = source;
  checkWildcard(`${where}.Namespace`, Namespace);
  if (Namespace === "*" && source.Name !== "*") fail(`${where}.Name: exact value cannot follow wildcard namespace`);
  if (Peer.includes("*")) fail(`${where}.Peer: cannot use wildcard '*' in peer`);
  checkMeta(source.LegacyMeta);
  for (const key of ["LegacyCreateTime", "LegacyUpdateTime"] as const)
    if (source[key] && Number.isNaN(Date.parse(source[key])))
      fail(`${where}.${key}: ${JSON.stringify(source[key])} is no time, want one such as 2026-01-31T12:00:00Z`);
  if ((source.Description ?? "").length > MAX_DESCRIPTION)
    fail(`${where}.Description exceeds maximum length ${MAX_DESCRIPTION}`);
  if (source.Type !== "consul") fail(`${where}.Type must be set to 'consul'`);
  const permissions = source.Permissions ?? [];
  if (permissions.length === 0) {
    if (source.Action !== "allow" && source.Action !== "deny") fail(`${where}.Action must be set to 'allow' or 'deny'`);
    return;
  }
  if (source.Action) fail(`${where}.Action must be omitted if Permissions are specified`);
  if (destination === "*") fail(`${where}.Permissions cannot be specified on intentions with wildcarded destinations`);
  for (const [j, permission] of permissions.entries()) checkPermission(permission, `${where}.Permissions[${j}]`);
}

function checkPermission({ Action, HTTP, JWT }: IntentionPermission, where: string): void {
  if (Action !== "allow" && Action !== "deny") fail(`${where}.Action must be set to 'allow' or 'deny'`);
  if (!HTTP) return fail(`${where}.HTTP is required`);
  checkPaths(HTTP, `${where}.HTTP`, ".");
  for (const [k, header] of (HTTP.Header ?? []).entries()) checkHeader(header, `${where}.HTTP.Header[${k}]`);
  const seen = new Set<string>();
  for (const method of HTTP.Methods ?? []) {
    if (!METHODS.has(method)) fail(`${where}.HTTP.Methods contains an invalid method ${JSON.stringify(method)}`);
    if (seen.has(method)) fail(`${where}.HTTP.Methods contains ${JSON.stringify(method)} more than once`);
    seen.add(method);
  }
  if (!HTTP.PathExact && !HTTP.PathPrefix && !HTTP.PathRegex && !HTTP.Header && !HTTP.Methods)
    fail(`${where}.HTTP should not be empty`);
  if (JWT) checkJwt(JWT, `${where}.JWT`);
}

function checkWildcard(field: string, value: string): void {
  if (value !== "*" && value.includes("*")) fail(`${field}: wildcard character '*' cannot be used with partial values`);
}
