/** What the central configuration adds to a proxy's own, as Consul merges it: what the proxy says itself stays. */
import { type ProxyDefaultsEntry, PROXY_DEFAULTS_NAME, type ServiceDefaultsEntry } from "@heddle/config-entries";
import type { ProxyConfig, ServiceDefinition, Upstream } from "@heddle/service-definition";

type Config = Record<string, unknown>;

export class CentralDefaults {
  readonly #isAll: boolean;
  readonly #proxies: ProxyDefaultsEntry | undefined;
  readonly #services: Map<string, ServiceDefaultsEntry>;

  /** Without `isAll` only `require_pq` is filled in: ours, and never to be missed for want of a setting. */
  constructor(proxies: readonly ProxyDefaultsEntry[], services: readonly ServiceDefaultsEntry[], isAll = true) {
    this.#isAll = isAll;
    this.#proxies = proxies.find((entry) => entry.Name === PROXY_DEFAULTS_NAME);
    this.#services = new Map(services.map((entry) => [entry.Name.toLowerCase(), entry]));
  }

  /** A proxy's or gateway's definition with the defaults filled in; any other is returned as it is. */
  applyTo(definition: ServiceDefinition): ServiceDefinition {
    const { Kind, Name } = definition;
    if (!Kind) return definition;
    const proxy = definition.Proxy ?? {};
    const name = Kind === "connect-proxy" ? (proxy.DestinationServiceName ?? "") : Name;
    const own = this.#services.get(name.toLowerCase());
    if (!this.#isAll) return this.#withRequirePq(definition, own);
    const config = this.#configOf(own);
    const mode = proxy.MeshGateway?.Mode || own?.MeshGateway.Mode || this.#proxies?.MeshGateway.Mode;
    const merged: ProxyConfig = { ...proxy, Expose: this.#expose(proxy, own) };
    if (proxy.Config || config) merged.Config = fillIn(proxy.Config ?? {}, config ?? {});
    if (mode) merged.MeshGateway = { Mode: mode };
    if (proxy.Upstreams) merged.Upstreams = proxy.Upstreams.map((upstream) => this.#upstream(upstream, mode));
    return { ...definition, Proxy: merged };
  }

  #withRequirePq(definition: ServiceDefinition, own: ServiceDefaultsEntry | undefined): ServiceDefinition {
    const require_pq = own?.RequirePQ ?? this.#proxies?.Config?.["require_pq"];
    if (require_pq === undefined) return definition;
    const { Proxy = {} } = definition;
    return { ...definition, Proxy: { ...Proxy, Config: fillIn(Proxy.Config ?? {}, { require_pq }) } };
  }

  #configOf(own: ServiceDefaultsEntry | undefined): Config | undefined {
    const common = this.#proxies?.Config;
    if (!common && !own?.Protocol && own?.RequirePQ === undefined) return undefined;
    return {
      ...common,
      ...(own?.Protocol && { protocol: own.Protocol }),
      ...(own?.RequirePQ !== undefined && { require_pq: own.RequirePQ }),
    };
  }

  #expose(proxy: ProxyConfig, own: ServiceDefaultsEntry | undefined): NonNullable<ProxyConfig["Expose"]> {
    const levels = [proxy.Expose, own?.Expose, this.#proxies?.Expose];
    const paths = levels.find((expose) => (expose?.Paths?.length ?? 0) > 0)?.Paths;
    return {
      ...(levels.some((expose) => expose?.Checks) && { Checks: true }),
      ...(paths && { Paths: paths.map((path) => ({ ...path, ParsedFromCheck: path.ParsedFromCheck ?? false })) }),
    };
  }

  #upstream(upstream: Upstream, mode: string | undefined): Upstream {
    if (upstream.DestinationType === "prepared_query") return upstream;
    const own = this.#services.get(upstream.DestinationName.toLowerCase())?.Protocol;
    const protocol = own || this.#proxies?.Config?.["protocol"];
    return {
      ...upstream,
      ...(protocol !== undefined && { Config: fillIn(upstream.Config ?? {}, { protocol }) }),
      ...(mode && !upstream.MeshGateway?.Mode && { MeshGateway: { Mode: mode } }),
    };
  }
}

/** Fills in what is missing or empty in `own`, maps within maps too. */
function fillIn(own: Config, defaults: Config): Config {
  const out: Config = Object.assign(Object.create(null) as Config, own);
  for (const [key, value] of Object.entries(defaults)) {
    const mine = out[key];
    if (isMap(mine) && isMap(value)) out[key] = fillIn(mine, value);
    else if (isEmpty(mine)) out[key] = value;
  }
  return out;
}

const isMap = (value: unknown): value is Config => typeof value === "object" && value !== null && !Array.isArray(value);

// As in Consul, a value that is empty counts as not given.
const isEmpty = (value: unknown): boolean =>
  value === undefined || value === null || value === "" || value === 0 || value === false;
