export {
  canonicalName,
  CONFIG_ENTRIES,
  CONFIG_KINDS,
  CONFIG_TOPIC,
  configEntryKey,
  configEntryTopic,
  configKindPrefix,
  configKindTopic,
  DEFAULT_PROTOCOL,
  isConfigKind,
  MESH_NAME,
  PROXY_DEFAULTS_NAME,
} from "./kinds.ts";
export { decodeChainOverrides } from "./overrides.ts";
export { problemList } from "./problem-list.ts";
export { decodeConfigEntry, normaliseConfigEntry, toConfigKind } from "./parse.ts";
export { entryShape } from "./shapes.ts";
export type { ConfigKind } from "./kinds.ts";
export type { ChainOverrideBody } from "./overrides.ts";
export type { Shape } from "./shape.ts";
export type {
  ConfigEntry,
  ConfigEntryOf,
  Expose,
  ExposePath,
  MeshGateway,
  Meta,
  ProxyDefaultsEntry,
  ServiceDefaultsEntry,
  TransparentProxy,
  UpstreamSettings,
} from "./types.ts";
export type {
  ExportedServicesEntry,
  IngressGatewayEntry,
  IngressListener,
  IngressService,
  IntentionJwt,
  IntentionPermission,
  IntentionSource,
  JwtProviderEntry,
  LinkedService,
  MeshEntry,
  MeshTls,
  ServiceIntentionsEntry,
  TerminatingGatewayEntry,
} from "./types-mesh.ts";
export type {
  HashPolicy,
  HeaderMatch,
  HeaderModifiers,
  HttpMatch,
  LoadBalancer,
  QueryParamMatch,
  ResolverFailover,
  ResolverRedirect,
  ResolverSubset,
  RouteDestination,
  ServiceResolverEntry,
  ServiceRoute,
  ServiceRouterEntry,
  ServiceSplit,
  ServiceSplitterEntry,
} from "./types-routing.ts";
