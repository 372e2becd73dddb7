/** What `-register` puts into the local agent's services. */
import { DEFAULT_BIND_ADDRESS } from "@heddle/data-plane";
import type { ProxySource } from "./config.ts";

export function registrationOf(source: ProxySource) {
  if (source.mode !== "flags" || !source.register || !source.spec.public) return undefined;
  const { service: name, public: spec } = source.spec;
  const { idSuffix } = source.register;
  const { host, port } = spec.bind;
  const service = {
    Kind: "connect-proxy",
    ID: `${name}-proxy${idSuffix === "" ? "" : `-${idSuffix}`}`,
    Name: `${name}-proxy`,
    Address: host === DEFAULT_BIND_ADDRESS ? "" : host,
    Port: port,
    Proxy: { DestinationServiceName: name },
  };
  return { service, check: { Name: "proxy heartbeat", Notes: "Built-in proxy will heartbeat this check." } };
}
