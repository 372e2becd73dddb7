/** From the decoded keys of a service to its canonical definition: defaults filled in, empty keys left out. */
import type { Value } from "@heddle/hcl";
import { isEmptyCheck, toCheckDefinition } from "./check.ts";
import { dropEmpty } from "./empty.ts";
import type { serviceField } from "./fields.ts";
import type { CheckDefinition, ProxyConfig, ServiceDefinition, ServiceKind, Weights } from "./types.ts";

export type RawService = Value<typeof serviceField>;

/** Fills in the defaults. In a file a weight that is not given is 1, in a request it is 0, as in Consul. */
export function toServiceDefinition(raw: RawService, source: "api" | "file"): ServiceDefinition {
  const id = raw.ID || raw.Name || "";
  const service: ServiceDefinition = {
    Kind: (raw.Kind ?? "") as ServiceKind,
    ID: id,
    Name: raw.Name ?? "",
    Tags: raw.Tags ?? [],
    Address: raw.Address ?? "",
    TaggedAddresses: mapValues(raw.TaggedAddresses ?? {}, (a) => ({ Address: a.Address ?? "", Port: a.Port ?? 0 })),
    Meta: raw.Meta ?? {},
    Port: raw.Port ?? 0,
    Weights: toWeights(raw.Weights, source === "file" ? 1 : 0),
    EnableTagOverride: raw.EnableTagOverride ?? false,
    Checks: toChecks(raw, id, raw.Name ?? ""),
    Token: raw.Token ?? "",
  };
  if (raw.SocketPath) service.SocketPath = raw.SocketPath;
  if (raw.Proxy) service.Proxy = toProxy(raw.Proxy);
  if (raw.Connect) service.Connect = raw.Connect;
  return service;
}

/** Ids are `service:<id>`, and `service:<id>:<n>` where there are several, those with an id of their own counted too. */
export function toChecks(raw: RawService, serviceId: string, serviceName: string): CheckDefinition[] {
  const all = [...(raw.Check && !isEmptyCheck(raw.Check) ? [raw.Check] : []), ...(raw.Checks ?? [])];
  return all.map((check, i) =>
    toCheckDefinition(check, {
      id: all.length === 1 ? `service:${serviceId}` : `service:${serviceId}:${i + 1}`,
      name: `Service '${serviceName}' check`,
      serviceId,
    }),
  );
}

function toWeights(raw: { Passing?: number; Warning?: number } | undefined, absent: number): Weights {
  return raw ? { Passing: raw.Passing ?? absent, Warning: raw.Warning ?? absent } : { Passing: 1, Warning: 1 };
}

type RawProxy = NonNullable<RawService["Proxy"]>;

/** The proxy as Consul's agent shows it: empty keys are left out, `MeshGateway` and `Expose` always stand. */
function toProxy(raw: RawProxy): ProxyConfig {
  const { Upstreams, MeshGateway, Expose, TransparentProxy, Config, ...plain } = raw;
  const proxy: ProxyConfig = dropEmpty(plain);
  if (Config && Object.keys(Config).length > 0) proxy.Config = Config;
  if (TransparentProxy) proxy.TransparentProxy = dropEmpty(TransparentProxy);
  if (Upstreams?.length) proxy.Upstreams = Upstreams.map(toUpstream);
  proxy.MeshGateway = dropEmpty(MeshGateway ?? {});
  proxy.Expose = {
    ...(Expose?.Checks && { Checks: true }),
    ...(Expose?.Paths?.length && {
      Paths: Expose.Paths.map((p) => ({ ...dropEmpty(p), ParsedFromCheck: false })),
    }),
  };
  return proxy;
}

function toUpstream(raw: NonNullable<RawProxy["Upstreams"]>[number]): NonNullable<ProxyConfig["Upstreams"]>[number] {
  const { Config, MeshGateway, DestinationName, DestinationType, DestinationPartition: _, ...plain } = raw;
  return {
    DestinationType: (DestinationType || "service") as "service",
    DestinationName: DestinationName ?? "",
    ...dropEmpty(plain),
    ...(Config && Object.keys(Config).length > 0 && { Config }),
    MeshGateway: dropEmpty(MeshGateway ?? {}),
  };
}

function mapValues<A, B>(map: Record<string, A>, fn: (value: A) => B): Record<string, B> {
  const mapped = Object.create(null) as Record<string, B>;
  for (const [key, value] of Object.entries(map)) mapped[key] = fn(value);
  return mapped;
}
