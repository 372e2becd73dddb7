/** The keys of each kind. What versions after 1.8 added is left out of the answer where it is not given. */
import type { ConfigKind } from "./kinds.ts";
import { always, type Fields, kept, list, map, optional, type Shape } from "./shape.ts";

const meta = map("text");
const meshGateway: Fields = { Mode: "text" };
const expose = always({
  Checks: "boolean",
  Paths: list(
    always({
      ListenerPort: "integer",
      Path: "text",
      LocalPathPort: "integer",
      Protocol: "text",
      ParsedFromCheck: kept("boolean"),
    }),
  ),
});
const transparentProxy = optional({ OutboundListenerPort: "integer", DialedDirectly: "boolean" });

const upstream: Fields = {
  Name: "text",
  EnvoyListenerJSON: "text",
  EnvoyClusterJSON: "text",
  Protocol: "text",
  ConnectTimeoutMs: "integer",
  Limits: optional({ MaxConnections: "integer", MaxPendingRequests: "integer", MaxConcurrentRequests: "integer" }),
  PassiveHealthCheck: optional({
    Interval: "duration",
    MaxFailures: "unsigned",
    EnforcingConsecutive5xx: "unsigned",
    MaxEjectionPercent: "unsigned",
    BaseEjectionTime: "duration",
  }),
  MeshGateway: optional(meshGateway),
  BalanceOutboundConnections: "text",
};

const headers = optional({ Add: map("text"), Set: map("text"), Remove: list("text") });

const httpHeaderMatch = list(
  always({
    Name: kept("text"),
    Present: "boolean",
    Exact: "text",
    Prefix: "text",
    Suffix: "text",
    Regex: "text",
    Invert: "boolean",
  }),
);

const route: Fields = {
  Match: optional({
    HTTP: optional({
      PathExact: "text",
      PathPrefix: "text",
      PathRegex: "text",
      Header: httpHeaderMatch,
      QueryParam: list(always({ Name: kept("text"), Present: "boolean", Exact: "text", Regex: "text" })),
      Methods: list("text"),
    }),
  }),
  Destination: optional({
    Service: "text",
    ServiceSubset: "text",
    Namespace: "text",
    PrefixRewrite: "text",
    RequestTimeout: "duration",
    NumRetries: "unsigned",
    RetryOnConnectFailure: "boolean",
    RetryOnStatusCodes: list("unsigned"),
    RequestHeaders: headers,
    ResponseHeaders: headers,
  }),
};

const resolver: Fields = {
  DefaultSubset: "text",
  Subsets: map(always({ Filter: "text", OnlyPassing: "boolean" })),
  Redirect: optional({ Service: "text", ServiceSubset: "text", Namespace: "text", Datacenter: "text" }),
  Failover: map(always({ Service: "text", ServiceSubset: "text", Namespace: "text", Datacenters: list("text") })),
  ConnectTimeout: "duration",
  RequestTimeout: "duration",
  LoadBalancer: optional({
    Policy: "text",
    RingHashConfig: optional({ MinimumRingSize: "unsigned", MaximumRingSize: "unsigned" }),
    LeastRequestConfig: optional({ ChoiceCount: "unsigned" }),
    HashPolicies: list(
      always({
        Field: "text",
        FieldValue: "text",
        CookieConfig: optional({ Session: "boolean", TTL: "duration", Path: "text" }),
        SourceIP: "boolean",
        Terminal: "boolean",
      }),
    ),
  }),
};

const meshTls = optional({ TLSMinVersion: "text", TLSMaxVersion: "text", CipherSuites: list("text") });

const jwt = optional({
  Providers: list(
    always({ Name: kept("text"), VerifyClaims: list(always({ Path: list("text"), Value: kept("text") })) }),
  ),
});

const jwtProvider: Fields = {
  JSONWebKeySet: optional({
    Local: optional({ JWKS: "text", Filename: "text" }),
    Remote: optional({
      URI: "text",
      RequestTimeoutMs: "integer",
      CacheDuration: "duration",
      FetchAsynchronously: "boolean",
      UseSNI: "boolean",
      RetryPolicy: optional({
        NumRetries: "integer",
        RetryPolicyBackOff: optional({ BaseInterval: "duration", MaxInterval: "duration" }),
      }),
      JWKSCluster: optional({
        DiscoveryType: "text",
        ConnectTimeout: "duration",
        TLSCertificates: optional({
          CaCertificateProviderInstance: optional({ InstanceName: "text", CertificateName: "text" }),
          TrustedCA: optional({
            Filename: "text",
            EnvironmentVariable: "text",
            InlineString: "text",
            InlineBytes: "text",
          }),
        }),
      }),
    }),
  }),
  Issuer: "text",
  Audiences: list("text"),
  Locations: list(
    always({
      Header: optional({ Name: "text", ValuePrefix: "text", Forward: "boolean" }),
      QueryParam: optional({ Name: "text" }),
      Cookie: optional({ Name: "text" }),
    }),
  ),
  Forwarding: optional({ HeaderName: "text", PadForwardPayloadHeader: kept("boolean") }),
  ClockSkewSeconds: kept("integer"),
  CacheConfig: optional({ Size: "integer" }),
};

const intentionSource: Fields = {
  Name: kept("text"),
  Action: "text",
  Permissions: list(
    always({
      Action: kept("text"),
      HTTP: optional({
        PathExact: "text",
        PathPrefix: "text",
        PathRegex: "text",
        Header: httpHeaderMatch,
        Methods: list("text"),
      }),
      JWT: jwt,
    }),
  ),
  Precedence: kept("integer"),
  LegacyID: "text",
  Type: kept("text"),
  Description: "text",
  Namespace: "text",
  Peer: "text",
  LegacyMeta: meta,
  LegacyCreateTime: "text",
  LegacyUpdateTime: "text",
};

const fieldsOf: Record<ConfigKind, Fields> = {
  "service-defaults": {
    Protocol: kept("text"),
    Mode: "text",
    TransparentProxy: transparentProxy,
    MeshGateway: always(meshGateway),
    Expose: expose,
    ExternalSNI: "text",
    UpstreamConfig: optional({ Overrides: list(always(upstream)), Defaults: optional(upstream) }),
    Destination: optional({ Addresses: list("text"), Port: "integer" }),
    MaxInboundConnections: "integer",
    LocalConnectTimeoutMs: "integer",
    LocalRequestTimeoutMs: "integer",
    BalanceInboundConnections: "text",
    RequirePQ: "boolean",
  },
  "proxy-defaults": {
    Config: kept("opaque"),
    Mode: "text",
    TransparentProxy: transparentProxy,
    MeshGateway: always(meshGateway),
    Expose: expose,
  },
  "service-router": { Routes: kept(list(always(route))) },
  "service-splitter": {
    Splits: kept(
      list(
        always({
          Weight: kept("float"),
          Service: "text",
          ServiceSubset: "text",
          Namespace: "text",
          RequestHeaders: headers,
          ResponseHeaders: headers,
        }),
      ),
    ),
  },
  "service-resolver": resolver,
  "ingress-gateway": {
    TLS: always({ Enabled: kept("boolean") }),
    Listeners: kept(
      list(
        always({
          Port: kept("integer"),
          Protocol: kept("text"),
          Services: kept(
            list(
              always({
                Name: kept("text"),
                Hosts: kept(list("text")),
                RequestHeaders: headers,
                ResponseHeaders: headers,
              }),
            ),
          ),
        }),
      ),
    ),
  },
  "terminating-gateway": {
    Services: kept(list(always({ Name: "text", CAFile: "text", CertFile: "text", KeyFile: "text", SNI: "text" }))),
  },
  mesh: {
    TransparentProxy: always({ MeshDestinationsOnly: kept("boolean") }),
    AllowEnablingPermissiveMutualTLS: "boolean",
    TLS: optional({ Incoming: meshTls, Outgoing: meshTls }),
    HTTP: optional({ SanitizeXForwardedClientCert: kept("boolean") }),
    Peering: optional({ PeerThroughMeshGateways: "boolean" }),
  },
  "exported-services": {
    Services: kept(
      list(
        always({
          Name: kept("text"),
          Namespace: "text",
          Consumers: kept(list(always({ Partition: "text", Peer: "text" }))),
        }),
      ),
    ),
  },
  "service-intentions": { Sources: kept(list(always(intentionSource))), JWT: jwt },
  "jwt-provider": jwtProvider,
};

const shapes = new Map<ConfigKind, Shape>();

/** The shape of a whole entry of a kind. */
export function entryShape(kind: ConfigKind): Shape {
  let shape = shapes.get(kind);
  if (!shape)
    shapes.set(kind, (shape = always({ Kind: kept("text"), Name: kept("text"), ...fieldsOf[kind], Meta: meta })));
  return shape;
}
