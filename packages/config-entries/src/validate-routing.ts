/** What a router, a splitter and a resolver must be by themselves; what they refer to is checked with the whole graph. */
import { InvalidArgumentError } from "@heddle/daemon";
import type {
  HttpMatch,
  QueryParamMatch,
  ResolverFailover,
  ServiceResolverEntry,
  ServiceRouterEntry,
  ServiceSplitterEntry,
} from "./types-routing.ts";
import { checkHeader, checkPaths } from "./validate-http-match.ts";

const fail = (text: string): never => {
  throw new InvalidArgumentError(text);
};

/** Methods are kept in upper case; a route that names some gets its destination's namespace written out. */
export function fillRouter(entry: ServiceRouterEntry): ServiceRouterEntry {
  const routes = entry.Routes?.map((route) => {
    const methods = route.Match?.HTTP?.Methods;
    if (!methods) return route;
    const match = { HTTP: { ...route.Match?.HTTP, Methods: methods.map((m) => m.toUpperCase()) } };
    const destination = route.Destination && {
      ...route.Destination,
      Namespace: route.Destination.Namespace ?? "default",
    };
    return { Match: match, ...(destination && { Destination: destination }) };
  });
  return { ...entry, Routes: routes ?? entry.Routes };
}

export function checkRouter(entry: ServiceRouterEntry): void {
  if (entry.Name === "") fail("Name is required");
  for (const [i, { Match, Destination }] of (entry.Routes ?? []).entries()) {
    const http = Match?.HTTP;
    if (http) checkHttpMatch(http, `Route[${i}]`);
    if (Destination?.PrefixRewrite && !http?.PathExact && !http?.PathPrefix)
      fail(`Route[${i}] cannot make use of PrefixRewrite without configuring either PathExact or PathPrefix`);
  }
}

function checkHttpMatch(http: HttpMatch, where: string): void {
  checkPaths(http, where, " ");
  for (const [j, header] of (http.Header ?? []).entries()) checkHeader(header, `${where} Header[${j}]`);
  for (const [j, param] of (http.QueryParam ?? []).entries()) checkParam(param, `${where} QueryParam[${j}]`);
  const seen = new Set<string>();
  for (const method of http.Methods ?? []) {
    if (seen.has(method)) fail(`${where} Methods contains ${JSON.stringify(method)} more than once`);
    seen.add(method);
  }
}

function checkParam(param: QueryParamMatch, where: string): void {
  if (param.Name === "") fail(`${where} missing required Name field`);
  if ([param.Present, param.Exact, param.Regex].filter(Boolean).length !== 1)
    fail(`${where} should only contain one of Present, Exact, or Regex`);
}

const WEIGHT_STEPS = 100; // a weight has two decimals
const ALL = 100 * WEIGHT_STEPS;

/** Weights are rounded to two decimals. */
export function fillSplitter(entry: ServiceSplitterEntry): ServiceSplitterEntry {
  const splits = entry.Splits?.map((split) => {
    const weight = Math.round(split.Weight * WEIGHT_STEPS) / WEIGHT_STEPS;
    return { ...split, Weight: weight === 0 ? 0 : weight };
  });
  return { ...entry, Splits: splits ?? entry.Splits };
}

export function checkSplitter(entry: ServiceSplitterEntry): void {
  if (entry.Name === "") fail("Name is required");
  const splits = entry.Splits ?? [];
  if (splits.length === 0) fail("no splits configured");
  const seen = new Set<string>();
  let sum = 0;
  for (const { Weight, Service = entry.Name, ServiceSubset = "", Namespace = "" } of splits) {
    sum += Math.round(Weight * WEIGHT_STEPS);
    const text = [Service, ServiceSubset, Namespace].map((part) => JSON.stringify(part));
    if (seen.has(text.join()))
      fail(`split destination occurs more than once: service=${text[0]}, subset=${text[1]}, namespace=${text[2]}`);
    seen.add(text.join());
  }
  // Shown as Go prints a 32-bit float.
  if (sum !== ALL) fail(`the sum of all split weights must be 100, not ${Math.fround(sum / WEIGHT_STEPS).toFixed(6)}`);
}

const MAX_SUBSET = 63;

export function checkResolver(entry: ServiceResolverEntry): void {
  if (entry.Name === "") fail("Name is required");
  const subsets = new Set(Object.keys(entry.Subsets ?? {}));
  for (const name of subsets) checkSubsetName(name);
  const quoted = JSON.stringify;
  const { DefaultSubset, Redirect, Failover, ConnectTimeout, RequestTimeout } = entry;
  if (DefaultSubset && !subsets.has(DefaultSubset))
    fail(`DefaultSubset ${quoted(DefaultSubset)} is not a valid subset`);
  if (Redirect) {
    const { Service, ServiceSubset, Namespace, Datacenter } = Redirect;
    if (Failover) fail("Redirect and Failover cannot both be set");
    if (!Service && !ServiceSubset && !Namespace && !Datacenter) fail("Redirect is empty");
    if (!Service && ServiceSubset) fail("Redirect.ServiceSubset defined without Redirect.Service");
    if (!Service && Namespace) fail("Redirect.Namespace defined without Redirect.Service");
    if (Service === entry.Name && ServiceSubset && !subsets.has(ServiceSubset))
      fail(`Redirect.ServiceSubset ${quoted(ServiceSubset)} is not a valid subset of ${quoted(entry.Name)}`);
  }
  for (const [subset, failover] of Object.entries(Failover ?? {})) {
    if (subset !== "*" && !subsets.has(subset)) fail(`Bad Failover[${quoted(subset)}]: not a valid subset`);
    checkFailover(failover, `Bad Failover[${quoted(subset)}]`, entry.Name, subsets);
  }
  for (const [key, value] of Object.entries({ ConnectTimeout, RequestTimeout }))
    if (value?.startsWith("-")) fail(`Bad ${key} '${value}', must be >= 0`);
}

function checkSubsetName(name: string): void {
  if (name === "") fail("Subset defined with empty name");
  const invalid = (why: string) => fail(`Subset ${JSON.stringify(name)} is invalid: ${why}`);
  if (name.length > MAX_SUBSET) invalid(`must be non-empty and ${MAX_SUBSET} characters or fewer`);
  if (!/^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/.test(name))
    invalid(
      `must be ${MAX_SUBSET} characters or fewer, begin or end with lower case alphanumeric characters, and contain lower case alphanumeric characters or '-' in between`,
    );
}

function checkFailover(failover: ResolverFailover, where: string, name: string, subsets: Set<string>): void {
  const { Service = "", ServiceSubset, Namespace, Datacenters } = failover;
  if (!Service && !ServiceSubset && !Namespace && !Datacenters)
    fail(`${where} one of Service, ServiceSubset, Namespace, or Datacenters is required`);
  if (ServiceSubset && (Service === "" || Service === name) && !subsets.has(ServiceSubset))
    fail(`${where}.ServiceSubset ${JSON.stringify(ServiceSubset)} is not a valid subset of ${JSON.stringify(Service)}`);
  if (Datacenters?.includes("")) fail(`${where}.Datacenters: found empty datacenter`);
}
